// SPDX-License-Identifier: Apache-2.0
//
// What every process of a family can do once it is attached to a loop: send, broadcast, receive,
// reply. Worker and Master are endpoints.
//
// Promise: an accepted alert is delivered whole, once, in the order of this endpoint's sends to
// that receiver, to the incarnation that it was addressed to, as long as both processes live.
// Otherwise OnUndelivered is called, or one of the two has died.
//
// Threads: every function of an endpoint that sends, receives, sets a hook or closes must be called
// on the thread that attached it, the one that runs its loop; a call from another thread ends the
// program with a message. Handlers and hooks are called on that thread, from the loop.
//
// Forks: in a process that was forked from the endpoint's own (other than by Master::Spawn), every
// function returns kFailedPrecondition and sends nothing.
#ifndef ALERTPIPE_ENDPOINT_H_
#define ALERTPIPE_ENDPOINT_H_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include <alertpipe/alert.h>
#include <alertpipe/barrier.h>
#include <alertpipe/buffer.h>
#include <alertpipe/diagnostic.h>
#include <alertpipe/export.h>
#include <alertpipe/peer.h>
#include <alertpipe/request.h>
#include <alertpipe/result.h>
#include <alertpipe/stats.h>

namespace alertpipe {

// Why an accepted alert could not be delivered.
enum class UndeliveredReason : std::uint8_t {
  kPeerDied,        // the receiver died before all of the alert was in its pipe
  kReceiverFull,    // the receiver's budget for incomplete alerts is used up
                    // (MasterOptions::reassembly_bytes_max)
  kReceiverMemory,  // the receiver got no memory for it
  kClosed,          // this endpoint was closed or destroyed first
};

// "peer died", "receiver's budget is used up", ...; a static string.
ALERTPIPE_EXPORT std::string_view ToString(UndeliveredReason reason);

// An alert that was accepted and then failed. The views are valid until the hook returns.
struct Undelivered {
  Peer peer;                   // the receiver
  std::uint64_t alert_id = 0;  // as in SendResult
  std::string_view name;       // empty when it is no longer known: has_name
  std::string_view data;       // empty when not all of it is still here: has_data
  bool has_name = false;
  bool has_data = false;
  bool is_response = false;  // the response to a request of that peer; it has no name
  UndeliveredReason reason = UndeliveredReason::kPeerDied;
};

// A handler that threw. The views are valid until the hook returns. The text of the exception is
// the application's: the library never logs it.
struct HandlerError {
  Peer sender;
  std::string_view name;
  std::exception_ptr error;
};

// Bytes or packets of the own pipe that made no sense. Nothing of it was delivered; other senders'
// alerts are unharmed unless `bytes_discarded` says that their bytes had to go with it.
struct Damage {
  enum class Kind : std::uint8_t {
    kFraming,  // bytes that are no packet; everything up to the next proven packet boundary was
               // discarded
    kPacket,   // a packet from an incarnation that does not exist or is dead, or out of its turn
    kRecord,   // a record that makes no sense
  };
  Kind kind = Kind::kFraming;
  std::uint64_t bytes_discarded = 0;
  int claimed_slot = -1;  // whom the packet claims to be from; -1 when not known
};

// How a Close ended.
struct CloseReport {
  std::uint64_t undelivered_alerts = 0;  // OnUndelivered was called for each, or its request ended
  bool deadline_passed = false;
};

// One entry for Receive({...}).
struct NamedHandler {
  std::string_view name;
  mutable Handler handler;  // moved out by Receive, if that succeeds
};

class ALERTPIPE_EXPORT Endpoint {
 public:
  using UndeliveredHook = absl::AnyInvocable<void(const Undelivered&)>;
  using HandlerErrorHook = absl::AnyInvocable<void(const HandlerError&)>;
  using PeerHook = absl::AnyInvocable<void(const Peer&)>;
  using DamageHook = absl::AnyInvocable<void(const Damage&)>;
  using DiagnosticHook = absl::AnyInvocable<void(const Diagnostic&)>;
  using CloseHook = absl::AnyInvocable<void(const CloseReport&)>;

  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // ---- Send ----

  // Sends one alert. Never blocks. `name` and `data` are copied before the call returns, as far as
  // they are not yet in the receiver's pipe. The first alert of a turn of the loop to an idle
  // receiver is written within the call; later ones of the same turn share packets and leave when
  // two packets are full (of broadcasts: 64 KiB) or the turn ends. An alert to the sending process
  // itself goes through its pipe like any other: its handler runs later, from the loop.
  //
  // Limits: name 254 bytes; data MasterOptions::alert_bytes_max (at most 4,294,967,040 bytes); what
  // is queued here, MasterOptions::queued_bytes_per_peer_max and queued_bytes_max. Data above one
  // of the last two can only be handed over (below). Errors: see result.h. A refused alert has left
  // no trace.
  SendResult Send(To to, std::string_view name, std::string_view data = {});

  // The same with data that is handed over: it is never copied as a whole, and is freed once it has
  // been written. One such alert may be larger than a queue's limit if that queue is empty. On
  // refusal the data is freed as well.
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Send(To to, std::string_view name, Owned data) {
    return SendOwned(to, name, std::move(data));
  }

  // Sends one alert to many. Receivers are independent: one that is full or dying is listed in the
  // result and delays nobody. Data that is held for several receivers is held once.
  BroadcastResult Broadcast(std::string_view name, std::string_view data = {},
                            Scope scope = Scope::kWorkers);
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  BroadcastResult Broadcast(std::string_view name, Owned data, Scope scope = Scope::kWorkers) {
    return BroadcastOwned(name, std::move(data), scope);
  }

  // Tries to write everything that is queued, without blocking. Not needed while the loop runs. OK
  // also when some receivers are full; kFailedPrecondition as everywhere.
  Result Flush();

  // The memory that is held here for all receivers / for one slot, in bytes, as the limits count
  // it: 4096 for each packet, however full it is, and all of the data of an alert that needs more
  // than two, until the last of it has left (for a broadcast once in all, and in full for each
  // slot). What became undeliverable counts in all until OnUndelivered has told of it. Up to 4
  // MiB of empty packets are kept for reuse on top, for a while.
  std::size_t QueuedBytes() const;
  std::size_t QueuedBytes(int slot) const;

  // ---- Receive ----

  // Calls `handler` for alerts with that name, from the next alert on; replaces the name's handler
  // if it has one. A null handler removes it. A handler, with what it has captured, is destroyed
  // when it has been replaced or removed and does not run any more, or with the endpoint; hooks
  // likewise. Close destroys none. kInvalidArgument when the name is too long. Legal
  // inside any handler, the replaced one included.
  Result Receive(std::string_view name, Handler handler);

  // Several at once, all or none: on an error no handler has changed.
  Result Receive(std::initializer_list<NamedHandler> handlers);
  Result Receive(const std::vector<NamedHandler>& handlers);

  // Calls `handler` for every alert whose name has no handler. A null handler removes it; such
  // alerts are then discarded and counted (Stats::alerts_unhandled).
  Result ReceiveDefault(Handler handler);

  // Removes a name's handler. kNotFound when it has none.
  Result Remove(std::string_view name);

  // ---- Request ----

  // Sends an alert that wants a response, and calls `callback` once with it, or with why there is
  // none (ResponseOutcome). `deadline` is a time from now, above zero; absl::InfiniteDuration() is
  // legal: every request ends when the peer dies or this endpoint closes. Everything else as Send;
  // at the receiver it is handled by name like any alert, and answered by Alert::Respond.
  //
  // Errors: as Send; also kInvalidArgument for a deadline of zero or less or a null callback, and
  // kResourceExhausted when kRequestsPerPeerMax requests to that slot have not ended. The callback
  // of a refused request is never called: it is destroyed before Request returns.
  SendResult Request(To to, std::string_view name, std::string_view data, absl::Duration deadline,
                     ResponseCallback callback);
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Request(To to, std::string_view name, Owned data, absl::Duration deadline,
                     ResponseCallback callback) {
    return RequestOwned(to, name, std::move(data), deadline, std::move(callback));
  }

  // Makes one request to each of many. `each` is called once per receiver, for those that refused
  // it as well (kRefused), in the order in which they end; a death ends one of them, not the
  // others. `done` (may be null) is called once, after the last `each`, from the loop also when
  // there was nobody to ask. Errors as Broadcast and Request: then neither is ever called.
  BroadcastResult Gather(std::string_view name, std::string_view data, absl::Duration deadline,
                         ResponseCallback each, GatherDone done = nullptr,
                         Scope scope = Scope::kOthers);

  // ---- Barrier ----

  // Calls `callback` once, when all workers that live now (kOthers: this one excepted; kFamily: and
  // an attached master) have handled everything that this endpoint has sent to them up to here:
  // their handlers have returned, or the alert was unhandled or came back to OnUndelivered, which
  // is called before. One that dies is not waited for any longer. `deadline` as in Request.
  //
  // A worker that is stopped or does not turn its loop holds the barrier up, and nothing else. What
  // handlers only begin is the application's to wait for (a Gather does). Costs one packet to and
  // from each worker, which it shares with others if there are any.
  //
  // Errors: kInvalidArgument for a deadline of zero or less or a null callback, kResourceExhausted
  // when kBarriersMax barriers of this endpoint have not ended, kFailedPrecondition as Send. Then
  // the callback is destroyed before the call returns.
  Result Barrier(absl::Duration deadline, BarrierCallback callback, Scope scope = Scope::kOthers);
  // The same for one receiver. Errors also as Send: kNotFound and kUnavailable.
  Result Barrier(To to, absl::Duration deadline, BarrierCallback callback);

  // ---- Hooks ----
  //
  // One function each: a later call replaces the earlier one, null removes it. Hooks may do what
  // handlers may, but must not throw: an exception that leaves a hook ends the program.

  // Called once for every accepted alert that could not be delivered, from the loop (from Close and
  // the destructor for what these give up). Without a hook such alerts are still counted. Not
  // called for requests: their callback is told.
  void OnUndelivered(UndeliveredHook hook);
  // Called each time that a handler threw, at once. Without this hook and without OnDiagnostic one
  // line goes to stderr, at most one a second, with the alert's name and the exception's type.
  void OnHandlerError(HandlerErrorHook hook);
  // Called when everything that was queued for a peer has been written, if an alert to it had to be
  // queued because its pipe was full or a turn's share of writing (1 MiB) used up, or was refused
  // because its queue was full. So a sender with much to send can go on until an alert is kQueued
  // and QueuedBytes(slot) is 64 KiB or more, and then wait for this.
  void OnDrained(PeerHook hook);
  // Called when a worker has been started / has died, after this endpoint was attached. A worker
  // learns of it from the master; what happens while it does not read merges: it hears that the one
  // it knew has left, and who is in that slot now.
  void OnJoined(PeerHook hook);
  void OnLeft(PeerHook hook);
  // Called each time that bytes made no sense: a hostile or broken relative. See SECURITY.md.
  void OnDamage(DamageHook hook);
  // For the log: called for all that should not happen (diagnostic.h), damage and handlers that
  // threw included, whatever other hooks are set. At most once a second for each kind: the first
  // event is told in the same turn of the loop, those of the following second together with the
  // next event of the kind, or when the endpoint ends. What happened before the hook was set is
  // told too. Without a hook nothing is printed but the line of OnHandlerError.
  void OnDiagnostic(DiagnosticHook hook);

  // ---- Who is there ----

  // This endpoint's own incarnation.
  Peer self() const;
  // The master; its pid and state are known also when it is not attached to a loop.
  Peer master() const;
  // The live workers at this moment, in the order of their slots, this one included. A pid is 0
  // while the worker is being started: until OnJoined is called for it, others can only be sent to
  // by slot or Peer.
  std::vector<Peer> Workers() const;
  // Calls `callback` once, from the loop, as soon as at least `count` workers live and their pids
  // are known (this one included, if it is one): they can be sent to, and what they are sent waits
  // for them, attached or not. With kDeadlineExceeded when that takes longer than `deadline` from
  // now, with kCancelled when this endpoint is closed or destroyed first. kInvalidArgument for a
  // null callback or a count below 0 or above workers_max.
  Result WhenWorkers(int count, absl::Duration deadline, WorkersCallback callback);
  // What this endpoint has counted since it was attached.
  Stats stats() const;

  // ---- End ----

  // Stops accepting sends at once (responses excepted), goes on writing what is queued (and
  // receiving) until all is written or `deadline` has passed, calls OnUndelivered for the rest,
  // then stops receiving and calls `done`. The loop must run for that; uv_loop_close returns 0
  // afterwards, as far as this library is concerned. A deadline of zero tries once. The process
  // should exit soon after: alerts that others go on sending wait in the pipe until then. It does
  // not wait for responses: requests of its own that are open end as kClosed. kFailedPrecondition
  // when it is closing or closed already, or never was attached. `done` is not called if the
  // endpoint is destroyed before.
  Result Close(absl::Duration deadline, CloseHook done = nullptr);

 protected:
  Endpoint();
  // Closes at once: one non-blocking attempt to write, OnUndelivered for the rest. The loop must
  // turn once more before uv_loop_close. Legal inside a handler or hook.
  ~Endpoint();

  std::shared_ptr<internal::EndpointImpl> impl_;  // null until attached

 private:
  friend class Events;

  SendResult SendOwned(To to, std::string_view name, Buffer data);
  SendResult RequestOwned(To to, std::string_view name, Buffer data, absl::Duration deadline,
                          ResponseCallback callback);
  BroadcastResult BroadcastOwned(std::string_view name, Buffer data, Scope scope);
};

}  // namespace alertpipe

#endif  // ALERTPIPE_ENDPOINT_H_
