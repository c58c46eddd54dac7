// SPDX-License-Identifier: Apache-2.0
//
// alertpipe itself, used as a program would use it: the public interface only, default options.
// Data that needs more than one packet is handed over, from buffers that are used again; a sender
// that is refused goes on when it is told that the queue has drained.
#include <alertpipe/alertpipe.h>
#include <uv.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <string>
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

// What the library copies into a packet anyway is not worth an owner.
constexpr std::size_t kHandOverMin = 4000;

// Only a full pipe can have so much queued for it. To send on would not make it faster, and what
// leaves later than the processor's cache remembers costs more.
constexpr std::size_t kQueueEnough = 65536;

// Buffers for data that is handed over. Each is free again when the library has written it to
// everybody it was for.
class Blocks {
 public:
  explicit Blocks(const Contents& contents) : contents_(contents) {}

  struct Block {
    Blocks* home = nullptr;
    int holders = 0;
    std::string data;
  };

  // Held by the caller.
  Block* Take() {
    if (free_.empty()) {
      all_.push_back({this, 0, std::string(contents_.bytes(), '\0')});
      contents_.Prepare(all_.back().data.data());
      free_.push_back(&all_.back());
    }
    Block* block = free_.back();
    free_.pop_back();
    block->holders = 1;
    return block;
  }

  // One more holder: the library.
  static Buffer Lend(Block* block) {
    ++block->holders;
    return Buffer::Adopt(
        block->data.data(), block->data.size(), [](void* held, char*, std::size_t) { Drop(held); },
        block);
  }

  static void Drop(void* held) {
    auto* block = static_cast<Block*>(held);
    if (--block->holders == 0) block->home->free_.push_back(block);
  }

 private:
  const Contents& contents_;
  std::deque<Block> all_;
  std::vector<Block*> free_;
};

// What the settings ask of the library, beyond its defaults.
struct Asked {
  static constexpr Abilities kCan = {/*linger=*/true, /*run=*/false};
  static AttachOptions ForAttach(const Settings& settings) {
    AttachOptions options;
    options.linger = settings.linger;
    return options;
  }
};

class AlertpipeLink {
 public:
  AlertpipeLink(const Settings& settings, int self, Place* place)
      : contents_(settings.bytes, settings.checksum),
        patience_(absl::Seconds(settings.patience)),
        options_(Asked::ForAttach(settings)),
        audience_(AudienceOf(settings, self)),
        handed_over_(settings.bytes > kHandOverMin),
        place_(place),
        blocks_(contents_) {}
  AlertpipeLink(const AlertpipeLink&) = delete;
  AlertpipeLink& operator=(const AlertpipeLink&) = delete;
  ~AlertpipeLink() {
    if (worker_ == nullptr) return;
    worker_.reset();
    uv_run(&loop_, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop_) != 0) Fail("the loop could not be closed");
  }

  // The rest is done here and not in the constructor, since it can fail.
  absl::Status Attach(Slot slot) {
    uv_loop_init(&loop_);
    absl::StatusOr<std::unique_ptr<Worker>> worker =
        Worker::Attach(std::move(slot), &loop_, options_);
    if (!worker.ok()) return worker.status();
    worker_ = *std::move(worker);
    turns_.Open(&loop_);
    block_ = blocks_.Take();
    return absl::OkStatus();
  }

  char* Data() { return waiting_ ? nullptr : block_->data.data(); }

  bool Post(Name name) { return audience_.size() == 1 ? PostToOne(name) : PostToAll(name); }

  bool Reply(Name name, std::string_view data) { return alert_->Reply(ToString(name), data).ok(); }

  void Finish() {
    finishing_ = true;
    if (waiting_) return;
    turns_.Close();
    worker_->Close(patience_, [this](const CloseReport& report) {
      if (report.undelivered_alerts != 0) {
        Fail(absl::StrCat(report.undelivered_alerts, " alerts were left at the end"));
      }
    });
  }

  Tally tally() const {
    const Stats stats = worker_->stats();
    return {stats.alerts_accepted, stats.packets_written};
  }

  void Fail(const std::string& why) { place_->Fail(why); }

  template <typename Role>
  void Run(Role& role) {
    for (const Name name : {Name::kItem, Name::kLast, Name::kPing, Name::kPong}) {
      worker_->Receive(ToString(name), [this, &role, name](Alert& alert) {
        alert_ = &alert;
        role.OnAlert(*this, ProcessOf(alert.sender()), name, alert.data());
        UpdateIdle(role);
      });
    }
    worker_->OnDrained([this, &role](const Peer& peer) { OnDrained(role, peer); });
    worker_->OnUndelivered([this](const Undelivered&) { Fail("an alert was not delivered"); });
    worker_->OnDamage([this](const Damage&) { Fail("damage was reported"); });
    worker_->OnMasterGone([] { _exit(1); });
    turns_.OnTurn([this, &role] {
      role.OnReady(*this);
      WaitIfFull();
      UpdateIdle(role);
    });
    UpdateIdle(role);
    uv_run(&loop_, UV_RUN_DEFAULT);
  }

 private:
  // What does not fit into the pipes waits here. To send on before it has left would only fill the
  // memory.
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

  template <typename Role>
  void OnDrained(Role& role, const Peer& peer) {
    if (!waiting_) return;
    const auto refused = std::find(refused_.begin(), refused_.end(), ProcessOf(peer));
    if (refused != refused_.end() && SendTo(ProcessOf(peer), refused_name_).ok()) {
      refused_.erase(refused);
      if (refused_.empty()) NextBlock();
    }
    waiting_ = !refused_.empty() || worker_->QueuedBytes() > 0;
    if (finishing_ && !waiting_) {
      Finish();
    } else {
      UpdateIdle(role);
    }
  }

  // Lent data is copied by the library as far as it has to wait; what is handed over is not.
  SendResult SendTo(int process, Name name) {
    const To to = To::Slot(SlotOf(process));
    if (handed_over_) return worker_->Send(to, ToString(name), Blocks::Lend(block_));
    return worker_->Send(to, ToString(name), block_->data);
  }

  bool PostToOne(Name name) {
    const SendResult sent = SendTo(audience_.front(), name);
    if (sent.ok()) {
      NextBlock();
      waiting_ = sent.outcome() == Outcome::kQueued &&
                 worker_->QueuedBytes(SlotOf(audience_.front())) >= kQueueEnough;
      return true;
    }
    waiting_ = true;
    CheckRefusal(sent);
    return false;
  }

  // Those that have no room for it are sent it again, one by one, before the next one.
  bool PostToAll(Name name) {
    const BroadcastResult sent =
        handed_over_ ? worker_->Broadcast(ToString(name), Blocks::Lend(block_), Scope::kOthers)
                     : worker_->Broadcast(ToString(name), block_->data, Scope::kOthers);
    if (!sent.ok()) Fail(sent.status().ToString());
    for (const Refusal& refusal : sent.refused) {
      CheckRefusal(refusal.status);
      refused_.push_back(ProcessOf(refusal.peer));
    }
    refused_name_ = name;
    waiting_ = !refused_.empty();
    if (!waiting_) NextBlock();
    return true;
  }

  void NextBlock() {
    if (!handed_over_) return;
    Blocks::Drop(block_);
    block_ = blocks_.Take();
  }

  void CheckRefusal(const absl::Status& status) {
    if (!status.ok() && !absl::IsResourceExhausted(status)) Fail(status.ToString());
  }

  Contents contents_;
  absl::Duration patience_;
  AttachOptions options_;
  std::vector<int> audience_;
  bool handed_over_;
  Place* place_;

  Blocks blocks_;
  Blocks::Block* block_ = nullptr;
  std::vector<int> refused_;
  Name refused_name_ = Name::kItem;
  bool waiting_ = false;  // for OnDrained
  bool finishing_ = false;

  uv_loop_t loop_;
  IdleTurns turns_;
  std::unique_ptr<Worker> worker_;
  Alert* alert_ = nullptr;
};

struct Alerts {
  using Link = AlertpipeLink;
  static constexpr std::string_view kName = "alertpipe";
  static constexpr Abilities kCan = Asked::kCan;
  static void Prepare(MasterOptions*) {}
};

const Registered<FamilyTransport<Alerts>> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
