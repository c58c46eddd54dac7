// SPDX-License-Identifier: Apache-2.0
//
// The whole protocol of one process, without I/O and without a clock: sends go in, packets to write
// come out; bytes that were read go in, alerts and events come out. Whoever drives it (the facade
// on libuv, a simulator, another event loop) does the system calls between.
//
//   Send ........ accepts or refuses, queues in the receiver's outbox, says whether to write at
//   once NextWrite ... checks the roster again and says what to write to a slot; then Wrote or
//   Blocked inbox() ..... where to read to; NextArrival hands out alerts; control records are
//   handled here NextEvent ... what the application has to be told
//
// Turns: a receiver that was not written to in this turn of the loop is written to within the call,
// everything later of the same turn waits for its end, so that it can share packets.
#ifndef ALERTPIPE_CORE_ENDPOINT_H_
#define ALERTPIPE_CORE_ENDPOINT_H_

#include <sys/uio.h>

#include <alertpipe/endpoint.h>
#include <alertpipe/peer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "core/barrier_table.h"
#include "core/counters.h"
#include "core/inbox.h"
#include "core/notice_board.h"
#include "core/outbox.h"
#include "core/request_table.h"
#include "core/roster.h"
#include "core/segment.h"
#include "core/undelivered_reader.h"

namespace alertpipe::core {

// Something to tell the application. Views are valid until the next NextEvent.
struct Event {
  enum class Kind : std::uint8_t {
    kUndelivered,
    kJoined,
    kLeft,
    kDrained,
    kDraining,  // this worker is being replaced, by `peer` if its slot is not 0
    kDied,      // nothing of the incarnations of `peer.slot` up to `peer.generation` follows; only
                // if wanted
  };
  Kind kind = Kind::kDrained;
  Peer peer;
  Undelivered undelivered;
};

// What became of a send.
struct Admission {
  absl::Status status;
  std::uint64_t alert_id = 0;
  bool write_now = false;  // write within the call: the receiver is idle, or a packet is full
  bool idle = false;       // nothing else of this turn is there to share a packet with
  bool full = false;       // refused: a queue has no room, `queued` of `cap` bytes are taken
  std::uint64_t cap = 0;
  std::uint64_t queued = 0;
};

// What becomes of a plain alert: see Endpoint::SendPlain.
enum class PlainStep : std::uint8_t { kLook, kQueued, kWrite };
struct PlainWay {
  int slot = -1;
  std::uint64_t alert_id = 0;
  iovec packet = {};      // of kWrite
  std::size_t bytes = 0;  // of name and data
};

// A receiver, as the roster named it when the send began.
struct Target {
  int slot = -1;
  RosterWord word;
};

class Endpoint {
 public:
  // `notices` is the master's board, or null in a worker; it and the page must outlive the
  // endpoint.
  Endpoint(Roster roster, const Peer& self, CounterPage* page, NoticeBoard* notices);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  const Peer& self() const { return self_; }
  const Roster& roster() const { return roster_; }
  CounterPage& page() { return meter_.page(); }
  const CounterPage& page() const { return meter_.page(); }
  Meter& meter() { return meter_; }

  // ---- Sending ----

  // Checks what does not depend on the receiver.
  absl::Status CheckContent(std::string_view name, std::size_t data_bytes) const;
  // Finds a receiver that can be sent to now.
  absl::Status Resolve(const To& to, Target* target);
  // Those that a broadcast goes to.
  void Select(Scope scope, std::vector<Target>* targets) const;

  // Queues an alert for `target`, which Resolve or Select named. `shared` holds the data of one
  // that does not fit into a packet; with null the view is only lent, and SettleLent must follow
  // before it ends. `owned`: the data was handed over, so it may exceed a cap if the queue is
  // empty. `first_charge`: counts against the cap of the endpoint (false for the further receivers
  // of a broadcast).
  Admission Accept(const Target& target, const Content& content, SharedData* shared, bool owned,
                   bool first_charge);
  // What most alerts need and no more: the receiver has been judged for an earlier one, its roster
  // word is still the same, and nothing has to be waited for. Of what is then to be done:
  //   kQueued  It is queued, in the packet that the last one for that receiver is in, which leaves
  //            anyhow: at the end of the turn, or when the pipe has room.
  //   kWrite   Nothing is queued for the receiver, and nothing was written in this turn. The caller
  //            writes way->packet, which is valid until the next call for this endpoint. Then
  //            WrotePlain or, if the kernel has not taken it, NotWrotePlain must follow. It is
  //            counted as accepted: the receiver may count it before the writer runs again.
  //   kLook    None of these, or NotWrotePlain: Resolve and Accept have to look. Nothing has
  //            changed.
  PlainStep SendPlain(const To& to, std::string_view name, std::string_view data, PlainWay* way);
  // The same for one receiver of a broadcast. `record` is the alert, encoded by EncodePlain from
  // `bytes` of name and data.
  PlainStep SendPlain(const Target& target, std::string_view record, std::size_t bytes,
                      PlainWay* way);
  void WrotePlain(const PlainWay& way);
  void NotWrotePlain(const PlainWay& way);
  // Whether what was accepted for `slot` still needs the lent view.
  bool NeedsLent(int slot) const { return boxes_[Index(slot)].outbox.lent() != nullptr; }
  bool LentUntouched(int slot) const { return boxes_[Index(slot)].outbox.lent_untouched(); }
  const Bulk* Lent(int slot) const { return boxes_[Index(slot)].outbox.lent(); }
  void SettleLent(int slot, SharedData* shared, bool whole) {
    boxes_[Index(slot)].outbox.OwnLent(shared, whole);
  }
  // Counts a refused alert. `full`: a queue is, and not the memory short.
  void CountRefused(const absl::Status& status, std::size_t bytes, bool full);

  std::size_t queued_bytes(int slot) const { return boxes_[Index(slot)].outbox.queued_bytes(); }
  bool HasOutput(int slot) const;
  // Whether no alert waits for anybody.
  bool AllWritten() const { return waiting_ == 0; }
  // Whether every alert that was accepted for `slot` has left.
  bool AllWritten(int slot) const { return boxes_[Index(slot)].outbox.empty(); }
  // Whether all of an alert that was accepted for an incarnation has left, or never will.
  bool HasLeft(int slot, std::uint32_t generation, std::uint64_t alert_id) const {
    const Outbox& outbox = boxes_[Index(slot)].outbox;
    return outbox.generation() != generation || outbox.HasLeft(alert_id + 1);
  }
  // Changes whenever what was queued for `slot` is given back.
  std::uint64_t failures(int slot) const { return boxes_[Index(slot)].failures; }

  // ---- Requests ----

  // Makes room for a request to `target`; its id goes into the content that Accept is given. Then
  // either KeepRequest or DropRequest follows.
  // On an error *callback is unchanged.
  absl::Status BeginRequest(const Target& target, std::uint64_t deadline,
                            ResponseCallback* callback, std::uint64_t* id);
  void KeepRequest(std::uint64_t id, const Target& target, std::uint64_t alert_id);
  // The request was refused: its callback is given back.
  ResponseCallback DropRequest(std::uint64_t id);
  // The callback of the request that an arrival of kind kResponse has ended.
  ResponseCallback TakeResponse(const Arrival& arrival) {
    return requests_.Take(arrival.request_id);
  }
  // Tells `peer` that its request gets no response. For a peer that is dead nothing happens.
  void Unhandled(const Peer& peer, std::uint64_t request_id);
  // Of requests and barriers.
  std::uint64_t next_deadline() const {
    return std::min(requests_.next_deadline(), barriers_.next_deadline());
  }
  bool HasRequests() const { return !requests_.empty(); }
  bool HasRequests(int slot) const { return requests_.count(slot) > 0; }
  // Whether what `slot` still owes would end with its death.
  bool WaitsFor(int slot) const { return HasRequests(slot) || barriers_.WaitsFor(slot); }
  // The same for those that may vanish unnoticed when there is no master to tell of it: nothing is
  // sent to one that is being replaced either, which would show that nobody reads it.
  bool MayVanish(int slot) const {
    const Box& box = boxes_[Index(slot)];
    return WaitsFor(slot) ||
           (box.known && slot != self_.slot && roster_.Get(slot).state == SlotState::kDraining);
  }
  void Expire(std::uint64_t now) {
    requests_.DecideExpired(now);
    barriers_.DecideExpired(now);
  }
  // The next request that has ended without a response. False when there is none.
  bool NextEnded(EndedRequest* ended);

  // ---- Barriers ----

  // Those that a barrier asks: all that live, also those that are being replaced.
  void SelectLiving(Scope scope, std::vector<Target>* targets) const;
  // Ends, with NextEndedBarrier, once all `targets` have handled what was accepted for them up to
  // now, or have died. On an error *callback is unchanged.
  absl::Status BeginBarrier(const std::vector<Target>& targets, std::uint64_t deadline,
                            BarrierCallback* callback);
  // The next barrier that has ended.
  bool NextEndedBarrier(EndedBarrier* ended);

  // ---- Being replaced ----
  //
  // A worker that its master replaces leaves in two rounds (docs/design.md). The first barrier
  // shows that everything is handled that others had accepted for it before they saw that it is
  // being replaced. Then its own requests settle. With the second it says its last to everybody and
  // hears everybody's last.

  // Whether the master has said so. An event kDraining tells it, once.
  bool told_to_drain() const { return draining_ != Draining::kServing; }
  // Whether BeginDrain was called.
  bool draining() const { return draining_ > Draining::kTold; }
  // Who takes its place; 0: nobody.
  int successor() const { return successor_; }
  // The application has ended its own work. Needs told_to_drain(); a second call does nothing.
  void BeginDrain();
  // Goes on where that is possible; to be called at the end of each turn. `tokens_held`: handlers
  // still hold requests of others that they mean to respond to.
  void StepDrain(bool tokens_held);
  // Nobody sends here any more, and everything of its own has left.
  bool drained() const;
  // This endpoint begins to send: those that are being replaced may not wait for its last word.
  void CloseDraining();
  // Refuses what is sent after this endpoint's last word.
  absl::Status CheckMaySend() const;

  // ---- Writing ----

  // A turn of the loop begins.
  void BeginTurn() {
    if (++turn_ % kTurnsPerTrim == 0) pool_.Trim();
  }
  // `slot` has something to write at the end of the turn.
  void MarkDirty(int slot);
  // Those slots, blocked ones left out.
  void TakeDirty(std::vector<int>* slots);
  bool dirty() const { return !dirty_.empty(); }

  // What to write to `slot` now: fills at most Outbox::kPartsMax parts and returns how many; 0:
  // nothing. Valid until the next call for this endpoint. `full_only` leaves a packet out that
  // later alerts of this turn can share.
  int NextWrite(int slot, iovec* parts, bool full_only);
  void Wrote(int slot, std::size_t bytes);
  // The pipe is full, or (`error`) the kernel has another reason: wait until it is writable.
  void Blocked(int slot, bool error = false);
  void Unblocked(int slot);
  // The rest of what is queued has to wait for others' turns: it is dirty, and its end is told.
  void WriteLater(int slot);
  bool blocked(int slot) const { return boxes_[Index(slot)].blocked; }
  // Nobody can read that pipe any more (EPIPE, after the master's death): what is queued for it
  // comes back. PeerGone must follow, once all that it has written has been handed out.
  void PeerUnreachable(int slot);
  // The same, and nothing of that peer, or of the dead master, follows.
  void PeerGone(int slot);
  // The master lives and is no endpoint any more: what is waited for does not come.
  void MasterClosed();
  bool IsGone(int slot) const { return Gone(slot, roster_.Get(slot)); }

  // ---- Reading ----

  Inbox& inbox() { return *inbox_; }
  const Inbox& inbox() const { return *inbox_; }
  // Whether a read would help although nothing shows that there is anything to read: see
  // endpoint_recheck.cc.
  bool wants_read() const { return !recheck_words_.empty(); }
  // The next arrival. Of interest outside are: an alert (kAlert; a request if it has a request id),
  // the response to an open request (kResponse: TakeResponse must follow), damage (kDamage) and
  // nothing (kNone).
  void NextArrival(Arrival* arrival) {
    if (closed_early_ || !inbox_->NextPlain(arrival)) NextOther(arrival);
  }

  // Counts the time that an arrival has taken, if it is known. A forged one may be in the future.
  void NoteLatency(const Arrival& arrival, std::uint64_t now_ns) {
    const std::uint64_t sent_ns = std::min(arrival.sent_ns, now_ns);
    page().latency[LatencyHistogram::BucketOf(now_ns - sent_ns)].Add();
  }

  // ---- Life ----

  // The live workers, in the order of their slots.
  void Live(std::vector<Peer>* workers) const;
  // How many of them have been started and take alerts: their pids are known.
  int CountUp() const;
  // The incarnations of `slot` up to `generation` are dead (a death notice, or the master's own
  // reaping).
  void PeerDied(int slot, std::uint32_t generation);
  void PeerJoined(int slot, std::uint32_t generation, std::uint32_t pid);
  // The master's board has changed: those that can be told at once are dirty now.
  void NoticesChanged();
  // Gives everything back that is still queued.
  void FailAll(UndeliveredReason reason);
  // Whether deaths are told in all cases (kDied), also of those that were never told as joined.
  void WantDeaths() { wants_deaths_ = true; }
  // The next thing to tell. False when there is nothing.
  bool NextEvent(Event* event);
  bool has_events() const {
    return !events_.empty() || !failures_.empty() || reading_ != nullptr || requests_.has_ended() ||
           barriers_.has_ended();
  }

 private:
  struct Reject {
    std::uint64_t alert_id = 0;
    std::uint64_t request_id = 0;  // of a request
    bool is_response = false;
    UndeliveredReason reason = UndeliveredReason::kReceiverFull;
    ShortName name;
  };

  // A barrier or an acknowledgement that must not overtake the alerts before alert `after`.
  struct Owed {
    std::uint64_t id = 0;
    std::uint64_t after = 0;
    bool last = false;  // a barrier: nothing of ours follows it
  };

  enum class Draining : std::uint8_t {
    kServing,
    kTold,        // the application ends its own work
    kFirstRound,  // others' alerts from before they knew still arrive
    kSettling,    // own requests, and responses that are owed
    kLastRound,
  };

  static constexpr std::uint64_t kNoWord = ~std::uint64_t{0};

  // Everything about one other slot.
  struct Box {
    Outbox outbox;
    std::uint64_t turn = 0;  // the last one in which something was written within the call
    // The roster word with which the last alert was accepted, if it takes alerts of all kinds.
    std::uint64_t judged_word = kNoWord;
    bool blocked = false;  // EAGAIN since the last time it was writable
    bool dirty = false;    // in dirty_
    bool tell_drained = false;
    std::size_t refused_bytes = 0;  // what the last alert that was refused needed
    bool waiting = false;           // counted in waiting_
    bool known = false;             // `peer` is live as far as the application was told
    Peer peer;
    std::uint32_t gone_generation = 0;  // found dead by writing, when no master is left to say so
    std::uint64_t failures = 0;         // how often everything queued has been given back
    std::uint64_t rejected_id = 0;      // the last of our alerts that the receiver has rejected
    std::uint64_t failed_from = ~std::uint64_t{0};  // it and all after it have been given back
    // The same of the incarnation before: its last rejects may come after its end.
    struct Before {
      std::uint32_t generation = 0;
      std::uint64_t rejected_id = 0;
      std::uint64_t left_until = 0;  // alerts before this one had left
    };
    Before before;
    // To be sent back, to one incarnation: alerts that could not be held, requests that get no
    // response.
    std::uint32_t returns_generation = 0;
    std::deque<Reject> rejects;
    std::deque<std::uint64_t> unhandled;
    // To the same one: in the order of `after`.
    std::vector<Owed> barriers;
    std::vector<Owed> acknowledgements;
    // The incarnation that takes nothing more, since it has said its last, or (`early`) was being
    // replaced when this endpoint came.
    std::uint32_t closed_generation = 0;
    bool closed_early = false;
  };

  struct Failure {
    Peer peer;
    UndeliveredReason reason;
    std::uint64_t rejected_id;
    FailedRun run;
  };

  struct QueuedEvent {
    Event event;
    std::string name;  // of a rejected alert
  };

  static constexpr std::uint64_t kTurnsPerTrim = 1024;
  // Broadcasts of a turn that gather for one receiver before they leave.
  static constexpr std::size_t kBroadcastRunBytes = 65536;

  static std::size_t Index(int slot) { return static_cast<std::size_t>(slot); }
  bool ShouldLeave(const Box& box, bool to_many) const;
  PlainStep PlainStepFor(const Box& box, int slot, std::uint64_t word, bool to_many) const;
  PlainStep AddPlain(Box* box, bool added, PlainWay* way);
  void CountAccepted(std::size_t bytes) {
    page().alerts_accepted.Add();
    page().bytes_accepted.Add(bytes);
  }
  PlainStep WriteAlone(const Box& box, std::size_t record_bytes, PlainWay* way);
  absl::Status ResolvePid(pid_t pid, Target* target);
  absl::Status ResolveAny(Target* target);
  absl::Status Judge(const Target& target) const;
  Peer PeerAt(int slot, const RosterWord& word) const;
  bool Gone(int slot, const RosterWord& word) const {
    const std::uint32_t gone = boxes_[Index(slot)].gone_generation;
    return gone != 0 && gone >= word.generation;
  }
  void Readdress(Box* box, int slot, const RosterWord& word);
  void CheckCaps(const Target& target, const Content& content, bool owned, bool first_charge,
                 Admission* admission) const;
  void NoteQueue(Box* box);
  void TellDrained(Box* box, int slot);
  void TellRoom();
  void NoteRefused(Box* box, std::size_t bytes);
  void NoteNoRoom(std::size_t bytes);
  bool ControlPending(const Box& box, int slot) const;
  std::size_t EncodeControl(Box* box, int slot);
  std::size_t EncodeRejects(Box* box, std::size_t used);
  std::size_t EncodeUnhandled(Box* box, std::size_t used);
  void ForgetReturns(Box* box);
  bool PrepareReturns(Box* box, const Peer& peer, std::size_t queued, std::size_t limit);
  void FailBack(Box* box, int slot, UndeliveredReason reason);
  void CountUndelivered(UndeliveredReason reason);
  void NextOther(Arrival* arrival);
  void SendReject(const Arrival& arrival);
  bool HandleControl(const Arrival& arrival);
  bool HandleReject(const Arrival& arrival);
  void TellRejected(const Arrival& arrival, const RejectBody& body);
  bool HandleUnhandled(const Arrival& arrival);
  void HandleResponse(Arrival* arrival);
  void StepRecheck();
  void Recheck();
  void TellDraining(int successor);
  bool HandleBarrier(const Arrival& arrival);
  bool HandleAcknowledge(const Arrival& arrival);
  bool HandleDraining(const Arrival& arrival);
  bool OwedReady(const Box& box) const {
    return (!box.barriers.empty() && box.outbox.HasLeft(box.barriers.front().after)) ||
           (!box.acknowledgements.empty() &&
            box.outbox.HasLeft(box.acknowledgements.front().after));
  }
  std::size_t EncodeOwed(Box* box, std::size_t used);
  std::uint64_t Ask(const std::vector<Target>& targets, std::uint64_t deadline,
                    BarrierCallback callback, bool last);
  std::uint64_t AskAll(bool last);
  absl::Status CheckTakesMore(const Target& target) const;
  void OpenDraining(const Peer& peer);
  void LoseReader(int slot);
  void EndRequest(std::uint64_t id, UndeliveredReason reason);

  Roster roster_;
  Peer self_;
  Meter meter_;
  NoticeBoard* notices_;
  SegmentPool pool_{&meter_};
  std::vector<Box> boxes_;
  std::unique_ptr<Inbox> inbox_;
  RequestTable requests_;
  BarrierTable barriers_;

  Draining draining_ = Draining::kServing;
  std::uint64_t round_ = 0;  // the barrier of the round
  bool tokens_held_ = false;
  bool closed_early_ = false;  // of any box
  int successor_ = 0;

  std::vector<int> dirty_;
  std::uint64_t turn_ = 1;
  bool wants_deaths_ = false;
  int waiting_ = 0;   // boxes with something queued or to be told
  int pid_hint_ = 0;  // where ResolvePid looks first
  int next_any_ = 1;  // where ResolveAny starts among equals
  // Somebody was refused for the endpoint's cap while its own queue was empty, and what the least
  // demanding of them needed.
  bool refused_in_all_ = false;
  std::size_t refused_least_ = 0;

  // The packet that SendPlain has handed out.
  char plain_[kPacketBytesMax];
  // The control packet that NextWrite has handed out.
  char control_[kPacketBytesMax];
  int control_slot_ = -1;
  std::size_t control_rejects_ = 0;
  std::size_t control_unhandled_ = 0;
  std::size_t control_barriers_ = 0;
  std::size_t control_acknowledgements_ = 0;
  std::uint64_t control_cursor_ = 0;

  // Framing was lost, and with it maybe notices: the roster is looked at, and applied once the pipe
  // has been found empty after that.
  bool recheck_wanted_ = false;
  std::vector<RosterWord> recheck_words_;
  std::uint64_t recheck_reads_ = 0;

  // A vector whose memory stays: a deque would allocate now and then.
  std::vector<QueuedEvent> events_;
  std::size_t events_told_ = 0;  // of events_
  QueuedEvent current_event_;
  std::deque<Failure> failures_;
  std::unique_ptr<UndeliveredReader> reading_;
  Peer reading_peer_;
  UndeliveredReason reading_reason_ = UndeliveredReason::kPeerDied;
  std::uint64_t reading_rejected_id_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_ENDPOINT_H_
