// SPDX-License-Identifier: Apache-2.0
//
// Events: publish and subscribe across the processes of a family, on top of alerts, without a
// broker. Whoever publishes writes to everybody itself.
//
//   auto events = Events::Attach(worker.get()).value();
//   events->Subscribe("cache", "purge", [&](const Event& event) { cache.Purge(event.data); });
//   events->Ready();
//   events->Publish(Audience::All(), "cache", "purge", "user:42");
//
// The family needs MasterOptions::events. Everything here is for the thread of the endpoint's loop,
// which also calls all callbacks.
#ifndef ALERTPIPE_EVENTS_H_
#define ALERTPIPE_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <alertpipe/barrier.h>
#include <alertpipe/endpoint.h>
#include <alertpipe/export.h>
#include <alertpipe/peer.h>
#include <alertpipe/result.h>

namespace alertpipe {

namespace internal {
class EventHub;
}

// Sources and events have names of 1 to kEventNameBytesMax bytes, any but kAny.
inline constexpr std::size_t kEventNameBytesMax = 255;
// In a subscription or a rule: all sources, or all events of a source.
inline constexpr std::string_view kAny = "*";
// A unique key has 1 to kUniqueKeyBytesMax bytes.
inline constexpr std::size_t kUniqueKeyBytesMax = 255;

// The library's own events, about workers. `publisher` says which one. They are no user's to
// publish.
inline constexpr std::string_view kOwnEventSource = "alertpipe";
inline constexpr std::string_view kStartedEvent = "started";    // it has called Ready
inline constexpr std::string_view kStoppingEvent = "stopping";  // it drains, closes, or detaches
inline constexpr std::string_view kJoinedEvent = "joined";      // as Endpoint::OnJoined
inline constexpr std::string_view kLeftEvent = "left";          // as Endpoint::OnLeft

// An event by name, for lists that turn a misspelt event into an error of the compiler:
//
//   struct CacheEvents {
//     static constexpr EventName kPurge{"cache", "purge"};
//   };
//   events->Publish(Audience::All(), CacheEvents::kPurge, "user:42");
struct EventName {
  std::string_view source;
  std::string_view name;
};

// Whom an event is for. Workers that are being replaced get no new events.
class Audience {
 public:
  enum class Kind : std::uint8_t { kAll, kOthers, kLocal, kOne, kUnique };

  // Every live worker; the publisher too, whether it is one or the master.
  static Audience All() { return Audience(Kind::kAll, To::Slot(-1), {}); }
  // The same without the publisher.
  static Audience Others() { return Audience(Kind::kOthers, To::Slot(-1), {}); }
  // The publishing process only. Nothing is copied to anywhere else; such events come before all
  // others that wait to be handed out.
  static Audience Local() { return Audience(Kind::kLocal, To::Slot(-1), {}); }
  // One process.
  static Audience One(const To& to) { return Audience(Kind::kOne, to, {}); }
  // One live worker of the library's choice, and nobody for as long as the key is taken: after the
  // first publication with a key, others with the same key, from whatever process, are ignored for
  // EventSettings::unique_timeout. Keys are compared whole, and shared by all sources and events.
  // Delivered exactly once, unless publisher or chosen worker die before: then at most once. The
  // view is read within the call.
  static Audience Unique(std::string_view key) {
    return Audience(Kind::kUnique, To::Slot(-1), key);
  }

  Kind kind() const { return kind_; }
  const To& to() const { return to_; }
  std::string_view key() const { return key_; }

 private:
  Audience(Kind kind, const To& to, std::string_view key) : to_(to), key_(key), kind_(kind) {}

  To to_;
  std::string_view key_;
  Kind kind_;
};

// What a callback gets. Views are valid until it returns.
struct Event {
  std::string_view source;
  std::string_view name;
  std::string_view data;
  // Who published it; nobody (slot -1) for events of Audience::Local().
  Peer publisher;
  // Of an ordered event: its place in the one order of the family, from 1, with holes. Else 0.
  std::uint64_t place = 0;
  // Whether it is an old one, which FetchRetained has brought.
  bool replayed = false;

  bool is_local() const { return publisher.slot < 0; }
};

// Events that this process should have got and has not. A cache that follows events should be
// thrown away, or compared with its origin.
struct Gap {
  Peer publisher;
  // Which events; empty if that is not known any more.
  std::string_view source;
  std::string_view name;
  std::uint64_t count = 0;
};

using EventCallback = absl::AnyInvocable<void(const Event&)>;
using GapCallback = absl::AnyInvocable<void(const Gap&)>;

// A callback that threw. As HandlerError (endpoint.h).
struct EventError {
  Peer publisher;
  std::string_view source;
  std::string_view name;
  std::exception_ptr error;
};

using SubscriptionId = std::uint64_t;

// What happens to an event for a receiver whose queue is full.
enum class Overflow : std::uint8_t {
  // It is refused for that receiver: the publisher is told, in PublishResult::refused.
  kRefuse,
  // The receiver is told that there is a gap, in its place among the publisher's events.
  kGap,
  // It waits at the publisher, outside the queue, and what is published later under the same key
  // takes its place (PublishOptions::key; without one, the event's name is its key). The receiver
  // gets the last value of each key.
  kCoalesce,
};

// How events with certain names are published. Give the same rules to all processes that publish.
// Of several rules that fit, the most particular counts, alone: that of the event, then that of the
// source, then that of everything.
struct EventRule {
  std::string source = std::string(kAny);
  std::string name = std::string(kAny);
  // Whether all processes get such events in one order: of any two that two processes both get,
  // both get the same first. For events to all or others; those to one process have the
  // publisher's order as they are. Not together with kCoalesce.
  bool ordered = false;
  Overflow overflow = Overflow::kRefuse;
};

struct PublishOptions {
  // Of kCoalesce: which earlier values this one replaces. At most kEventNameBytesMax bytes.
  std::string_view key;
  // Everybody keeps it as the last value of this event, for FetchRetained. Refused
  // (kResourceExhausted) when there is no room: EventsOptions::retained_bytes_max.
  bool retain = false;
};

// What became of one publication. status() is not OK only if all of it was refused; the codes are
// those of result.h, and kResourceExhausted also when the table of unique keys is full (names
// EventSettings::unique_keys_max) or memory is short.
class PublishResult : public Result {
 public:
  using Result::Result;

  std::size_t accepted = 0;  // processes that get it, the publishing one included
  std::size_t waiting = 0;   // of these, those for which it waits outside the queue (kCoalesce)
  std::size_t gaps = 0;      // processes that are told of a gap instead
  bool duplicate = false;    // its unique key is taken: nobody gets it
  std::vector<Refusal> refused;
};

struct EventsOptions {
  std::vector<EventRule> rules;
  // Longest data of an event; 0: as long as an alert's can be (MasterOptions::alert_bytes_max, less
  // up to 537 bytes for names and numbers).
  std::uint64_t data_bytes_max = 0;
  // What may be held here, in bytes of events: until Ready, for their place in the order, or for
  // receivers of coalesced events. What finds no room becomes a gap.
  std::size_t held_bytes_max = 67108864;
  // What retained values may take in each process, with up to 557 bytes for the names and numbers
  // of each; a publication that finds no room is refused. All of them travel in one response, so
  // that MasterOptions::alert_bytes_max and half of queued_bytes_per_peer_max count if they are
  // less. Give the same to all processes: one that has less room than the publisher gets the event,
  // and does not keep it (EventsStats::unretained).
  std::uint64_t retained_bytes_max = 1048576;
  // How long ordered events wait for a receiver whose pipe is full before they get their place. It
  // gets them as a gap then, and is not waited for again until it has read what is queued for it.
  absl::Duration order_patience = absl::Milliseconds(50);
};

struct EventsStats {
  std::uint64_t published = 0;   // accepted publications
  std::uint64_t refused = 0;     // publications that were refused as a whole
  std::uint64_t duplicates = 0;  // of unique keys
  std::uint64_t handled = 0;     // events that were handed out here, to however many callbacks
  std::uint64_t unhandled = 0;   // of these, those without any subscription
  std::uint64_t callback_errors = 0;
  std::uint64_t gaps = 0;        // events that this process was told to have missed
  std::uint64_t coalesced = 0;   // values that later ones have replaced
  std::uint64_t late = 0;        // ordered events that came after their place: gaps as well
  std::uint64_t withdrawn = 0;   // ordered events whose publisher died before they had a place
  std::uint64_t unretained = 0;  // retained values that found no room here
  std::uint64_t held_bytes = 0;  // now
};

// What Poll found.
enum class PollResult : std::uint8_t {
  kDone,       // all that was there has been handed out
  kRecursive,  // called by a callback: nothing was done
};

class Events;

// A subscription that ends with its owner. Movable. It may outlive the Events, and does nothing
// then.
class ALERTPIPE_EXPORT ScopedSubscription {
 public:
  ScopedSubscription() = default;
  ScopedSubscription(ScopedSubscription&& other) noexcept;
  ScopedSubscription& operator=(ScopedSubscription&& other) noexcept;
  ~ScopedSubscription();

 private:
  friend class Events;
  ScopedSubscription(std::weak_ptr<internal::EventHub> hub, SubscriptionId id);

  std::weak_ptr<internal::EventHub> hub_;
  SubscriptionId id_ = 0;
};

class ALERTPIPE_EXPORT Events {
 public:
  // Gives a worker, or a master with a loop, its events; one per endpoint, once, at once after it
  // was attached, so that nothing arrives before. The endpoint must outlive it. Alerts whose names
  // begin with a zero byte are this class's: in a process of the family that has no Events they are
  // unhandled, and ReceiveDefault does not get them.
  //
  // Until Ready is called all that is published is held for it, from the moment at which its slot
  // was announced, whether it had been started by then or not.
  //
  // Endpoint::Barrier says of events that they have arrived, Barrier below that their callbacks
  // have returned. What is still to come after the first: those behind more than a turn hands out
  // (Poll does), those that are ordered and have no place yet, and all of them until Ready.
  //
  // Errors: kFailedPrecondition without MasterOptions::events, for an endpoint that has or had its
  // events or is not open; kInvalidArgument for a rule or option that makes no sense.
  static absl::StatusOr<std::unique_ptr<Events>> Attach(Endpoint* endpoint,
                                                        EventsOptions options = {});

  // The same interface within one process, for tests of handlers: no fork, no pipes, no loop. The
  // process is the only worker of its family. What is published is handed out before Publish
  // returns, in the order of publication: what callbacks publish, after they have returned.
  static absl::StatusOr<std::unique_ptr<Events>> ForTesting(EventsOptions options = {});

  // Publishes `stopping`. What is held is dropped.
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // ---- Publish ----

  // Publishes an event. Never blocks, and calls no callback: that is done from the loop. Nothing
  // of the arguments is kept. Limits: names kEventNameBytesMax, not kAny, and the source not
  // kOwnEventSource (kInvalidArgument, naming limit and value); data EventsOptions::data_bytes_max.
  //
  // Events of one publisher reach each receiver in the order of publication.
  PublishResult Publish(const Audience& audience, std::string_view source, std::string_view name,
                        std::string_view data = {}, const PublishOptions& options = {});
  PublishResult Publish(const Audience& audience, const EventName& event,
                        std::string_view data = {}, const PublishOptions& options = {}) {
    return Publish(audience, event.source, event.name, data, options);
  }

  // ---- Subscribe ----

  // Calls `on_event` for each event of that name; kAny for all events of a source, and for both for
  // all events. Callbacks are called from the general to the particular: (any, any), (source, any),
  // (source, event); of each of these in the order of subscription. One that throws is reported
  // (OnError), and the others are called. `on_gap`, which may be null, is called where such events
  // are missing, or may be.
  //
  // kInvalidArgument for a null callback, a name that is too long or empty, or an event of any
  // source.
  absl::StatusOr<SubscriptionId> Subscribe(std::string_view source, std::string_view name,
                                           EventCallback on_event, GapCallback on_gap = nullptr);
  absl::StatusOr<SubscriptionId> Subscribe(const EventName& event, EventCallback on_event,
                                           GapCallback on_gap = nullptr) {
    return Subscribe(event.source, event.name, std::move(on_event), std::move(on_gap));
  }
  // Ends one subscription, legal inside of any callback. kNotFound if there is none with that id.
  Result Unsubscribe(SubscriptionId id);
  // A subscription that ends with the object.
  absl::StatusOr<ScopedSubscription> SubscribeScoped(std::string_view source, std::string_view name,
                                                     EventCallback on_event,
                                                     GapCallback on_gap = nullptr);

  // ---- Start ----

  // This process has subscribed to what it needs: what was held is handed out from the loop, in its
  // order, and `started` is published. kFailedPrecondition when called again.
  Result Ready();
  bool ready() const;

  // Asks all other live workers, and the master if it has Events, for the last value of each event
  // that was published with `retain`, and hands them out as if they had just come
  // (Event::replayed), those excepted that this process has heard of since. `done`, which may be
  // null, is called after the last of them, with an error if nobody answered within `deadline`
  // (kDeadlineExceeded, kUnavailable: there is nobody to ask).
  Result FetchRetained(absl::Duration deadline, absl::AnyInvocable<void(const absl::Status&)> done);

  // ---- Barrier ----

  // Calls `callback` once, when all that this process has published to others up to here has been
  // handed out there, and what it has published to itself here: the callbacks have returned. One
  // that is stopped, does not turn its loop or has not called Ready holds the barrier up until
  // `deadline` (kDeadlineExceeded, with BarrierReport::missing); one that dies is not waited for
  // any longer. An ordered event waits for its place, so at most EventsOptions::order_patience for
  // others. What the others have published is not waited for, and workers that are being replaced,
  // which get no new events, are not asked. (Endpoint::Barrier asks them too, and says only that
  // events have arrived.)
  //
  // What waits in this process until its own Ready is waited for beyond the deadline.
  //
  // Called from the loop, never from inside Barrier; with ForTesting before Barrier returns, unless
  // that was called by a callback. kCancelled when the endpoint is closed before, if others were
  // asked. Not called when this object is destroyed before.
  //
  // Errors: kInvalidArgument for a null callback or a deadline of zero or less; kResourceExhausted
  // when events wait here for room (Overflow::kGap, kCoalesce: OnDrained tells when to try again),
  // or when no queue had room for the question; kFailedPrecondition as Send. Then it is not called.
  Result Barrier(absl::Duration deadline, BarrierCallback callback);

  // ---- Other ----

  // Reads what is in the pipe and hands it out now, without the loop: for code that cannot wait for
  // it. Alerts that are not events are handled as well.
  PollResult Poll();

  // Hooks, one each; as those of Endpoint.
  void OnError(absl::AnyInvocable<void(const EventError&)> hook);
  // Called for each gap, beside the gap callbacks of subscriptions.
  void OnGap(GapCallback hook);

  EventsStats stats() const;

 private:
  explicit Events(std::shared_ptr<internal::EventHub> hub);

  std::shared_ptr<internal::EventHub> hub_;
};

}  // namespace alertpipe

#endif  // ALERTPIPE_EVENTS_H_
