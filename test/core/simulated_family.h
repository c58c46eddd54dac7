// SPDX-License-Identifier: Apache-2.0
//
// A family in one process: core endpoints, a roster in private memory, and a simulated pipe for
// each. The fixture does what the facade and the master do around
// the core; a test says who sends, writes, reads, dies and comes back, in any order. Nothing
// happens by itself: what a send may write within the call is written, all else waits for EndTurn,
// Pump, Read or Settle.
#ifndef ALERTPIPE_TEST_CORE_SIMULATED_FAMILY_H_
#define ALERTPIPE_TEST_CORE_SIMULATED_FAMILY_H_

#include <alertpipe/endpoint.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/counters.h"
#include "core/endpoint.h"
#include "core/inbox.h"
#include "core/notice_board.h"
#include "core/slot_life.h"
#include "heap_roster.h"
#include "sim/pipe.h"

namespace alertpipe::core {

// The pipe of the simulator (test/sim), and what a test makes of it.
class FakePipe : public sim::Pipe {
 public:
  explicit FakePipe(std::size_t capacity) : Pipe(capacity) {}

  using AnyPipe::Write;
  std::size_t Write(const iovec* parts, int count) override {
    if (refusals == 0) return Pipe::Write(parts, count);
    --refusals;
    return 0;
  }

  int refusals = 0;        // the next writes get EAGAIN, room or not
  bool no_reader = false;  // writes get EPIPE: its reader is dead, and so is the master
};

struct Delivery {
  Peer sender;
  std::string name;
  std::string data;
  std::uint64_t request_id = 0;
};

// How a request has ended.
struct Ended {
  std::uint64_t request_id = 0;
  Peer peer;
  ResponseOutcome outcome = ResponseOutcome::kResponse;
  std::string data;
};

// An Event with its texts.
struct Told {
  Event::Kind kind = Event::Kind::kDrained;
  Peer peer;
  std::uint64_t alert_id = 0;
  std::string name;
  std::string data;
  bool has_name = false;
  bool has_data = false;
  bool is_response = false;
  UndeliveredReason reason = UndeliveredReason::kClosed;
};

class SimulatedFamily {
 public:
  // Slot 0 is the master, always alive and attached; the workers' slots are free.
  explicit SimulatedFamily(const FamilySettings& settings);
  // With live workers in all slots, and nothing left to tell about it.
  static std::unique_ptr<SimulatedFamily> WithWorkers(FamilySettings settings);
  ~SimulatedFamily();

  int slots() const { return roster_.roster().slots(); }
  Roster roster() const { return roster_.roster(); }
  HeapRoster& roster_memory() { return roster_; }
  bool runs(int slot) const { return members_[Index(slot)].core != nullptr; }
  Endpoint& at(int slot) { return *members_[Index(slot)].core; }
  Stats stats(int slot) { return at(slot).page().Snapshot(); }
  FakePipe& pipe(int slot) { return members_[Index(slot)].pipe; }
  Peer PeerIn(int slot) { return at(slot).self(); }

  // ---- What an application does
  SendResult Send(int from, const To& to, std::string_view name, std::string_view data = {});
  SendResult Send(int from, const To& to, std::string_view name, Buffer data);
  BroadcastResult Broadcast(int from, Scope scope, std::string_view name, std::string_view data);
  BroadcastResult Broadcast(int from, Scope scope, std::string_view name, Buffer data);
  // *request_id, if wanted, is set when it is accepted.
  SendResult Request(int from, const To& to, std::string_view name, std::string_view data = {},
                     std::uint64_t deadline = kNever, std::uint64_t* request_id = nullptr);
  SendResult Request(int from, const To& to, std::string_view name, Buffer data,
                     std::uint64_t deadline = kNever, std::uint64_t* request_id = nullptr);
  SendResult Respond(int from, const Peer& to, std::uint64_t request_id,
                     std::string_view data = {});

  // Begins a barrier for those in `scope`; BarriersEnded tells of it under that number.
  absl::Status Barrier(int from, Scope scope, int number, std::uint64_t deadline = kNever);

  // ---- What its loop does
  void EndTurn(int slot);  // writes what the turn has left, blocked receivers excepted
  void Pump(int slot);     // every pipe is reported writable, then EndTurn
  void Write(int from, int to, bool full_only = false);
  bool Read(int slot);     // one read and all that came with it; whether there was something
  void ReadAll(int slot);  // until the pipe is empty
  void Settle();           // until nothing moves
  // What has been delivered, told or found damaged since the last call. Deliver reads first.
  std::vector<Delivery> Deliver(int slot);
  std::vector<Told> Events(int slot);
  // Requests of `slot` that have ended since the last call, in their order. Nothing is read.
  std::vector<Ended> Outcomes(int slot);
  // Barriers of `slot` that have ended since the last call: their numbers and reports.
  std::vector<std::pair<int, BarrierReport>> BarriersEnded(int slot);
  std::vector<Damage> TakeDamage(int slot);
  // Adds bytes to a pipe as a hostile relative can.
  void Inject(int slot, std::string_view bytes);

  // ---- Life and death
  void Respawn(int slot);  // all steps
  void Kill(int slot);     // the process is gone; the master has not noticed
  void Bury(int slot);     // all steps of the master's reaction to the death
  // The same step by step: Begin..., then Step until it returns false.
  void BeginRespawn(int slot) { members_[Index(slot)].life.Start(); }
  void BeginBury(int slot) { members_[Index(slot)].life.Died(); }
  void Retire(int slot, int successor = 0);  // all steps; the notice waits at the master
  // Whether a worker's application holds requests that it will respond to.
  void HoldRequests(int slot, bool held) { members_[Index(slot)].holds_requests = held; }
  void BeginRetire(int slot, int successor) { members_[Index(slot)].life.Retire(successor); }
  void BeginKill(int slot) { members_[Index(slot)].life.Kill(); }
  bool Step(int slot);
  void FailNextFork() { fork_fails_ = true; }
  const SlotLife& life(int slot) const { return members_[Index(slot)].life; }
  const DrainCount& drained(int slot) const { return members_[Index(slot)].drained; }

  // Called between a sender's look at the roster and its queueing or its write.
  std::function<void(int from, int to)> before_queue;
  std::function<void(int from, int to)> before_write;
  // Called for each alert, instead of keeping it for Deliver.
  std::function<void(int slot, const Arrival&)> on_alert;
  // Called for each response, late ones included, before its request ends.
  std::function<void(int slot, const Arrival&)> on_response;

 private:
  struct Payload;
  struct Member {
    explicit Member(std::size_t capacity) : pipe(capacity), page(std::make_unique<CounterPage>()) {}
    FakePipe pipe;
    std::unique_ptr<CounterPage> page;
    std::unique_ptr<Endpoint> core;
    SlotLife life;
    DrainCount drained;
    std::vector<Delivery> delivered;
    std::vector<Damage> damage;
    std::vector<Told> told;
    std::vector<Ended> ended;
    bool holds_requests = false;
    std::vector<std::pair<int, BarrierReport>> barriers;
  };

  static std::size_t Index(int slot) { return static_cast<std::size_t>(slot); }
  void StartProcess(int slot, std::uint32_t generation, std::uint32_t pid);
  struct Terms {
    std::uint64_t deadline = kNever;
    std::uint64_t* request_id = nullptr;
  };
  Outcome WritePlain(int from, PlainStep step, const PlainWay& way);
  SendResult SendLent(int from, const To& to, Content content, const Terms* request);
  SendResult SendHandedOver(int from, const To& to, Content content, Buffer data,
                            const Terms* request);
  BroadcastResult PostToAll(int from, Scope scope, const Content& content, Payload* payload);
  SendResult Post(int from, const To& to, Content content, Payload* payload, const Terms* request);
  SendResult QueueRequest(int from, const Target& target, Content content, Payload* payload,
                          const Terms& request);
  SendResult Queue(int from, const Target& target, const Content& content, Payload* payload,
                   bool first_charge);
  void TellAll(int slot);
  void SettleLent(int from, int slot, Payload* payload, bool everything);
  void Drain(int slot);
  void Take(int slot);

  HeapRoster roster_;
  NoticeBoard board_;
  std::vector<Member> members_;
  std::uint32_t next_pid_ = 101;
  bool fork_fails_ = false;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_SIMULATED_FAMILY_H_
