// SPDX-License-Identifier: Apache-2.0
//
// An inbox of slot 1, generation 5, that is fed bytes. Senders are the slots up to 5, all in
// generation 3; slot 6 is free.
#ifndef ALERTPIPE_TEST_CORE_INBOX_BENCH_H_
#define ALERTPIPE_TEST_CORE_INBOX_BENCH_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/inbox.h"
#include "heap_roster.h"
#include "packet_builder.h"

namespace alertpipe::core {

inline constexpr std::uint32_t kSelfGeneration = 5;
inline constexpr std::uint32_t kSenderGeneration = 3;

// The next packet of an honest sender.
inline PacketBuilder From(int slot, std::uint64_t sequence = 1,
                          std::uint32_t generation = kSenderGeneration) {
  return PacketBuilder(slot, generation, kSelfGeneration, sequence);
}

struct Seen {
  Arrival::Kind kind = Arrival::Kind::kNone;
  Peer sender;
  std::string name;
  std::string data;
  std::uint64_t alert_id = 0;
  UndeliveredReason reason = UndeliveredReason::kReceiverFull;
  Damage damage;
};

class InboxBench {
 public:
  static FamilySettings Settings() { return GenerousSettings(7); }

  explicit InboxBench(const FamilySettings& settings = Settings())
      : roster(settings), page_(std::make_unique<CounterPage>()), meter_(page_.get()) {
    for (int slot = 0; slot < 6; ++slot) {
      roster.Publish(slot, kSenderGeneration, SlotState::kUp,
                     1000 + static_cast<std::uint32_t>(slot));
    }
    roster.Publish(1, kSelfGeneration, SlotState::kUp, 1001);
    inbox = std::make_unique<Inbox>(roster.roster(), kSelfGeneration, &meter_);
    EXPECT_TRUE(inbox->Allocate());
  }

  // One read that returns these bytes, as many as fit; the rest is returned.
  std::string_view ReadOnce(std::string_view bytes) {
    const std::size_t taken = std::min(bytes.size(), inbox->space_bytes());
    if (taken > 0) std::memcpy(inbox->space(), bytes.data(), taken);
    inbox->Received(taken);
    TakeAll();
    return bytes.substr(taken);
  }
  // As a pipe that holds these bytes is read: full reads and a short one, which may be empty.
  void Feed(std::string_view bytes) {
    bool full = true;
    while (full) {
      full = bytes.size() >= inbox->space_bytes();
      bytes = ReadOnce(bytes);
    }
  }

  std::vector<Seen> Take() { return std::exchange(seen_, {}); }
  // The same, when there may be nothing but alerts.
  std::vector<Seen> TakeAlerts() {
    std::vector<Seen> alerts;
    for (Seen& seen : seen_) {
      EXPECT_EQ(seen.kind, Arrival::Kind::kAlert);
      if (seen.kind == Arrival::Kind::kAlert) alerts.push_back(std::move(seen));
    }
    seen_.clear();
    return alerts;
  }
  const CounterPage& page() const { return *page_; }
  Stats stats() const { return page_->Snapshot(); }
  void ExpectNoDamage() const {
    EXPECT_EQ(stats().damaged_bytes, 0u);
    EXPECT_EQ(stats().damaged_packets, 0u);
    EXPECT_EQ(stats().damaged_records, 0u);
    EXPECT_EQ(stats().lost_alerts, 0u);
  }
  std::size_t reassembly_bytes() const { return meter_.reassembly_bytes(); }

  HeapRoster roster;

 private:
  void TakeAll() {
    Arrival arrival;
    for (inbox->Next(&arrival); arrival.kind != Arrival::Kind::kNone; inbox->Next(&arrival)) {
      Seen seen;
      seen.kind = arrival.kind;
      seen.sender = arrival.sender;
      const bool alert = arrival.kind == Arrival::Kind::kAlert;
      if (alert || arrival.kind == Arrival::Kind::kReject) seen.name = std::string(arrival.name);
      if (alert) seen.data = std::string(arrival.data);
      seen.alert_id = arrival.alert_id;
      seen.reason = arrival.reason;
      seen.damage = arrival.damage;
      seen_.push_back(std::move(seen));
    }
    EXPECT_FALSE(inbox->pending());
  }

  std::unique_ptr<CounterPage> page_;
  Meter meter_;
  std::vector<Seen> seen_;

 public:
  std::unique_ptr<Inbox> inbox;  // goes before what it refers to
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_INBOX_BENCH_H_
