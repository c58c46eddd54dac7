// SPDX-License-Identifier: Apache-2.0
//
// Events (events.h) as two transports: `events` in the order of their publisher, `events-ordered`
// in one order for the whole family. A publisher starts each turn with nothing queued, and a turn's
// alerts are fewer than what may be queued, so that nothing is refused. Measured only when asked
// for: they are not beside alertpipe, they are on top of it.
#include <alertpipe/alertpipe.h>
#include <uv.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/str_cat.h>

#include "board.h"
#include "contents.h"
#include "family.h"
#include "idle_turns.h"
#include "link.h"
#include "transport.h"

namespace alertpipe::bench {
namespace {

constexpr std::string_view kSource = "bench";

template <bool ordered>
class EventsLink {
 public:
  EventsLink(const Settings& settings, int /*self*/, Place* place)
      : contents_(settings.bytes, settings.checksum),
        data_(settings.bytes, '\0'),
        patience_(absl::Seconds(settings.patience)),
        to_all_(settings.workload != Workload::kFanIn),
        place_(place) {
    options_.linger = settings.linger;
    contents_.Prepare(data_.data());
  }
  EventsLink(const EventsLink&) = delete;
  EventsLink& operator=(const EventsLink&) = delete;
  ~EventsLink() {
    if (worker_ == nullptr) return;
    events_.reset();
    worker_.reset();
    uv_run(&loop_, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop_) != 0) Fail("the loop could not be closed");
  }

  absl::Status Attach(Slot slot) {
    uv_loop_init(&loop_);
    absl::StatusOr<std::unique_ptr<Worker>> worker =
        Worker::Attach(std::move(slot), &loop_, options_);
    if (!worker.ok()) return worker.status();
    worker_ = *std::move(worker);
    turns_.Open(&loop_);
    EventsOptions options;
    options.rules.push_back({std::string(kSource), std::string(kAny), ordered, Overflow::kRefuse});
    absl::StatusOr<std::unique_ptr<Events>> events = Events::Attach(worker_.get(), options);
    if (!events.ok()) return events.status();
    events_ = *std::move(events);
    return absl::OkStatus();
  }

  char* Data() { return waiting_ ? nullptr : data_.data(); }

  bool Post(Name name) {
    return Publish(to_all_ ? Audience::Others() : Audience::One(To::Slot(SlotOf(0))), name, data_);
  }

  bool Reply(Name name, std::string_view data) {
    return Publish(Audience::One(To::Slot(sender_.slot)), name, data);
  }

  void Finish() {
    finishing_ = true;
    if (waiting_) return;
    turns_.Close();
    // Receivers that have what they wait for leave, and do not hear any more that this one stops.
    // One that misses anything stays, and says so.
    worker_->Close(patience_);
  }

  Tally tally() const { return {events_->stats().published, worker_->stats().packets_written}; }

  void Fail(const std::string& why) { place_->Fail(why); }

  template <typename Role>
  void Run(Role& role) {
    for (const Name name : {Name::kItem, Name::kLast, Name::kPing, Name::kPong}) {
      const auto subscribed =
          events_->Subscribe(kSource, ToString(name), [this, &role, name](const Event& event) {
            sender_ = event.publisher;
            role.OnAlert(*this, ProcessOf(event.publisher), name, event.data);
            UpdateIdle(role);
          });
      if (!subscribed.ok()) Fail(subscribed.status().ToString());
    }
    events_->OnGap([this](const Gap&) { Fail("there was a gap"); });
    worker_->OnDrained([this, &role](const Peer&) {
      if (!waiting_) return;
      waiting_ = worker_->QueuedBytes() > 0;
      if (finishing_ && !waiting_) return Finish();
      UpdateIdle(role);
    });
    worker_->OnUndelivered([this](const Undelivered&) { Fail("an alert was not delivered"); });
    worker_->OnMasterGone([] { _exit(1); });
    turns_.OnTurn([this, &role] {
      role.OnReady(*this);
      WaitIfFull();
      UpdateIdle(role);
    });
    if (const Result ready = events_->Ready(); !ready.ok()) Fail(ready.status().ToString());
    UpdateIdle(role);
    uv_run(&loop_, UV_RUN_DEFAULT);
  }

 private:
  bool Publish(const Audience& audience, Name name, std::string_view data) {
    const PublishResult published = events_->Publish(audience, kSource, ToString(name), data);
    if (!published.ok()) Fail(published.status().ToString());
    if (!published.refused.empty()) Fail(published.refused.front().status.ToString());
    return published.ok();
  }

  void WaitIfFull() {
    if (finishing_ || waiting_) return;
    worker_->Flush();
    waiting_ = worker_->QueuedBytes() > 0;
  }

  template <typename Role>
  void UpdateIdle(const Role& role) {
    if (finishing_ && !waiting_) return;
    turns_.Want(role.posting() && !waiting_);
  }

  Contents contents_;
  std::string data_;
  absl::Duration patience_;
  AttachOptions options_;
  bool to_all_;
  Place* place_;
  Peer sender_;
  bool waiting_ = false;  // for OnDrained
  bool finishing_ = false;

  uv_loop_t loop_;
  IdleTurns turns_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Events> events_;
};

template <bool ordered>
struct PublishedEvents {
  using Link = EventsLink<ordered>;
  static constexpr std::string_view kName = ordered ? "events-ordered" : "events";
  static constexpr Abilities kCan = {/*linger=*/true, /*run=*/false, /*on_request=*/true};
  static void Prepare(MasterOptions* options) { options->events = EventSettings(); }
};

const Registered<FamilyTransport<PublishedEvents<false>>> kRegistered;
const Registered<FamilyTransport<PublishedEvents<true>>> kRegisteredOrdered;

}  // namespace
}  // namespace alertpipe::bench
