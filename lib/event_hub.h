// SPDX-License-Identifier: Apache-2.0
//
// Events at work. A hub sits on an endpoint, and turns publications into alerts and alerts into
// calls of subscriptions:
//
//   Publish -> rules -> alerts to everybody -> (full? backlog) ........ event_publish.cc
//                    -> own queue
//   alert -> record -> order book, or at once -> queue -> subscriptions event_receive.cc
//   end of a turn -> what was published ordered gets its places ....... event_order.cc
//   barrier -> marks behind what has come, answered when handed out ... event_barrier.cc
//
// Without an endpoint (Events::ForTesting) there are only the own queue and the subscriptions.
#ifndef ALERTPIPE_EVENT_HUB_H_
#define ALERTPIPE_EVENT_HUB_H_

#include <alertpipe/events.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "core/events/event_record.h"
#include "core/events/order_book.h"
#include "core/events/order_publisher.h"
#include "core/events/subscription_table.h"
#include "core/events/unique_table.h"
#include "endpoint_impl.h"
#include "endpoint_observer.h"
#include "event_backlog.h"
#include "event_queue.h"

namespace alertpipe::internal {

// A record that has no data, in memory of its own.
absl::StatusOr<Buffer> Encoded(const core::EventRecord& head);

class EventHub final : public EndpointObserver, public std::enable_shared_from_this<EventHub> {
 public:
  // On an endpoint, or with null on none.
  static absl::StatusOr<std::shared_ptr<EventHub>> Create(std::shared_ptr<EndpointImpl> endpoint,
                                                          EventsOptions options);
  ~EventHub();
  EventHub(const EventHub&) = delete;
  EventHub& operator=(const EventHub&) = delete;

  // The functions of Events.
  PublishResult Publish(const Audience& audience, std::string_view source, std::string_view name,
                        std::string_view data, const PublishOptions& options);
  absl::StatusOr<SubscriptionId> Subscribe(std::string_view source, std::string_view name,
                                           EventCallback on_event, GapCallback on_gap);
  absl::Status Unsubscribe(SubscriptionId id);
  absl::Status Ready();
  bool ready() const { return ready_; }
  absl::Status FetchRetained(absl::Duration deadline,
                             absl::AnyInvocable<void(const absl::Status&)> done);
  PollResult Poll();
  absl::Status Barrier(absl::Duration deadline, BarrierCallback callback);
  EventsStats stats() const;
  // As ~Events.
  void End();

  template <typename Hook>
  using Shared = std::shared_ptr<Hook>;
  Shared<absl::AnyInvocable<void(const EventError&)>> on_error;
  Shared<GapCallback> on_gap;

 private:
  using Item = EventQueue::Item;
  struct Draft;  // a publication under way
  // The last value of an event.
  struct Retained {
    std::string record;
    Peer publisher;
    std::uint64_t place = 0;
    std::uint64_t time_ns = 0;
  };

  EventHub(std::shared_ptr<EndpointImpl> endpoint, EventsOptions options);

  // EndpointObserver
  void OnTurn() override;
  bool HasWork() const override;
  bool WantsTurn() const override;
  bool WantsRead() const override { return book_.has_value() && book_->wants_read(); }
  bool WaitsFor(int slot) const override { return book_.has_value() && book_->HoldsFrom(slot); }
  std::uint64_t deadline() const override { return std::min({wait_until_, look_at_, retry_at_}); }
  void OnJoined(const Peer& peer) override;
  void OnLeft(const Peer& peer) override;
  void OnDied(const Peer& last) override;
  void OnDrained(const Peer& peer) override;
  bool OnUndelivered(const Undelivered& undelivered) override;
  void OnDraining() override;
  void OnClosing() override;
  void OnLastWords() override;
  void ClaimRest();

  // ---- Publishing (event_publish.cc)
  absl::Status CheckPublish(std::string_view source, std::string_view name, std::string_view data,
                            const PublishOptions& options) const;
  const EventRule& RuleFor(std::string_view source, std::string_view name) const;
  PublishResult PublishToMany(Draft* draft, bool others_only);
  PublishResult PublishToOne(Draft* draft, const To& to);
  PublishResult PublishUnique(Draft* draft, std::string_view key);
  PublishResult PublishHere(Draft* draft, bool local);
  void SendTo(const Peer& peer, const Draft& draft, PublishResult* result);
  void Overflowed(const Peer& peer, const Draft& draft, const absl::Status& why,
                  PublishResult* result);
  bool KeepOwn(const Draft& draft, bool local);
  void KeepForRetention(Draft* draft);
  bool IsSelf(const To& to) const;
  EventBacklog* BacklogOf(const Peer& peer);
  void FlushBacklog(const Peer& peer);
  void PublishOwn(std::string_view name);
  void RetryLater();

  // ---- Order (event_order.cc)
  bool ordered_ready() const { return publisher_.has_value() && publisher_->pending(); }
  void StepOrder();
  void TellClaimed();
  void StepBook();

  // ---- Barriers (event_barrier.cc)
  struct BarrierState;
  // Called in its place, or not (false: for want of memory).
  using Mark = absl::AnyInvocable<void(bool placed)>;
  static void NoteMissing(const Peer& peer, const absl::Status& why, BarrierReport* report);
  static void NoteAnswer(const Response& response, BarrierReport* report);
  static void EndBarrier(const std::weak_ptr<EventHub>& weak,
                         const std::shared_ptr<BarrierState>& state);
  void HandleBarrierRequest(Alert* alert);
  void PushMark(const Peer& sender, Mark mark);
  void TakeMark(std::uint64_t number);

  // ---- Receiving (event_receive.cc)
  void Handle(Alert* alert);
  void HandleRetainedRequest(Alert* alert);
  void HandOut(Item item);
  void PushGap(const Peer& publisher, std::string_view source, std::string_view name,
               std::uint64_t count);
  void KeepGap(const Gap& gap);
  void TellLater(const Gap& gap);
  void QueueEarlyGaps();
  void TellEarlyGaps();
  void HandOutQueue();
  void HandOutNow(const Item& item);
  void HandOutNow(std::string_view record, const Peer& publisher, std::uint64_t place,
                  bool replayed);
  void Dispatch(const core::EventRecord& record, const Peer& publisher, std::uint64_t place,
                bool replayed);
  void TellGap(const Gap& gap);
  template <typename Call>
  void Guarded(const Peer& publisher, const core::EventRecord& record, Call call);
  void TellAbout(std::string_view name, const Peer& peer);
  void TellBarrier(BarrierCallback call, const BarrierReport& report);
  absl::Status CheckRetain(const core::EventRecord& record) const;
  bool Retain(const core::EventRecord& record, const Peer& publisher, std::uint64_t place);
  void Replay(std::string_view values);
  bool MayHold(std::size_t bytes) const;
  void Wake();

  std::shared_ptr<EndpointImpl> endpoint_;
  EventsOptions options_;
  Peer self_;
  core::SubscriptionTable subscriptions_;
  EventQueue queue_;
  bool ready_ = false;
  bool ended_ = false;
  bool dispatching_ = false;
  bool stopped_ = false;  // `stopping` has been published
  // Of a publication.
  std::string scratch_;
  std::vector<EndpointImpl::Accepted> accepted_;

  std::optional<core::OrderPublisher> publisher_;
  std::optional<core::OrderBook> book_;
  bool waiting_ = false;  // for room in somebody's pipe, until wait_until_
  std::uint64_t wait_until_ = core::kNever;
  bool look_ = false;                     // the ring may have news
  std::uint64_t look_at_ = core::kNever;  // or then
  std::vector<char> claim_owed_;          // by slot: has to be told of claims
  bool owes_claims_ = false;
  std::uint64_t testing_place_ = 0;

  core::UniqueTable unique_;
  std::uint64_t unique_timeout_ns_ = 0;
  std::unique_ptr<char[]> testing_memory_;

  std::map<int, std::pair<std::uint32_t, EventBacklog>> backlogs_;  // by slot, of a generation
  std::size_t backlog_bytes_ = 0;
  bool flush_backlogs_ = false;
  std::uint64_t retry_at_ = core::kNever;  // what was refused although nothing was queued

  std::map<std::pair<std::string, std::string>, Retained> retained_;
  std::size_t retained_bytes_ = 0;  // of a response with all of them
  // Of what found no room before Ready: slot, generation, source, event.
  static constexpr std::size_t kEarlyGapsMax = 1024;
  struct EarlyGap {
    Peer publisher;
    std::uint64_t count = 0;
  };
  std::map<std::tuple<int, std::uint32_t, std::string, std::string>, EarlyGap> early_gaps_;
  std::map<std::uint64_t, Mark> marks_;  // those that stand in the book
  std::uint64_t last_mark_ = 0;
  EventsStats stats_;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_EVENT_HUB_H_
