// SPDX-License-Identifier: Apache-2.0
//
// Events while something fails: two workers publish to each other, ordered and not, ask for what
// was retained, and race for a key. What was accepted for somebody is heard there, or told as a
// gap, and the account of the two is exact.
#include <string>
#include <utility>

#include <absl/strings/str_cat.h>

#include "faults/stage.h"

namespace alertpipe::faults {
namespace {

enum Flag : int { kGo, kAttached, kPublished, kDue, kHeard, kMissing, kLeft };

constexpr int kRounds = 3;
const EventName kOrdered{"ordered", "event"};
const EventName kPlain{"plain", "event"};

EventsOptions Rules() {
  EventsOptions options;
  options.rules.push_back({std::string(kOrdered.source), std::string(kAny), true});
  options.rules.push_back({std::string(kPlain.source), std::string(kAny), false, Overflow::kGap});
  return options;
}

class Publisher {
 public:
  Publisher(Actor* me, Worker* worker) : me_(*me), flags_(me->ledger()->flags) {
    absl::StatusOr<std::unique_ptr<Events>> events = Events::Attach(worker, Rules());
    if (!me_.Note(events.status())) return;
    events_ = *std::move(events);
    for (const EventName& event : {kOrdered, kPlain}) {
      (void)events_->Subscribe(event, [this](const Event& one) {
        if (!one.replayed) ++flags_[kHeard];
      });
    }
    events_->OnGap([this](const Gap& gap) {
      if (gap.source != kOwnEventSource) flags_[kMissing] += static_cast<int>(gap.count);
    });
    me_.Note(events_->Ready().status());
  }

  void Play() {
    ++flags_[kAttached];
    Wait("the other one's events", [this] { return flags_[kAttached] == 2; });
    for (int round = 0; events_ != nullptr && round < kRounds; ++round) {
      Publish(Audience::All(), kOrdered, std::string(100, 'x'), {});
      PublishOptions retain;
      retain.retain = true;
      Publish(Audience::Others(), kPlain, std::string(6000, 'x'), retain);
      Publish(Audience::Unique(absl::StrCat("key", round)), kPlain, "one of both", {});
      me_.Turns(1);
    }
    ++flags_[kPublished];
    Wait("all publications", [this] { return flags_[kPublished] == 2; });
    Wait("all events", [this] { return flags_[kHeard] + flags_[kMissing] >= flags_[kDue]; });
    Fetch();
    me_.Turns(2);
    ++flags_[kLeft];
    Wait("the other one's end", [this] { return flags_[kLeft] == 2; });
    if (flags_[kHeard] > flags_[kDue]) me_.Wrong("more events are heard than were accepted");
  }

 private:
  void Wait(std::string_view what, const std::function<bool()>& done) {
    me_.Until(what, [&] { return done() || me_.ledger()->phase.load() != Phase::kAct; });
  }

  void Publish(const Audience& audience, const EventName& event, std::string_view data,
               const PublishOptions& options) {
    const PublishResult result = events_->Publish(audience, event, data, options);
    flags_[kDue] += static_cast<int>(result.accepted + result.gaps);
    me_.Note(result.status());
    for (const Refusal& refusal : result.refused) me_.Note(refusal.status);
  }

  void Fetch() {
    if (events_ == nullptr) return;
    const Result asked =
        events_->FetchRetained(absl::Seconds(5), [this](const absl::Status& status) {
          fetched_ = true;
          me_.Note(status);
        });
    if (me_.Note(asked.status())) Wait("what was retained", [this] { return fetched_; });
  }

  Actor& me_;
  std::atomic<int>* flags_;
  bool fetched_ = false;
  std::unique_ptr<Events> events_;
};

}  // namespace

void PlayEvents(Stage& stage) {
  const Part part = [](Actor& me, std::unique_ptr<Worker>& worker) {
    while (me.ledger()->flags[kGo] == 0 && me.ledger()->phase.load() == Phase::kAct) me.Turn();
    Publisher(&me, worker.get()).Play();
  };
  const Peer one = stage.Spawn(part);
  const Peer two = stage.Spawn(part);
  if (!stage.Ready() || !stage.Has(one) || !stage.Has(two)) return;
  stage.Arm();
  stage.ledger()->flags[kGo] = 1;
  stage.me.Until("both publishers' parts", [&] { return stage.ledger()->flags[kLeft] == 2; });
}

}  // namespace alertpipe::faults
