// SPDX-License-Identifier: Apache-2.0
//
// What a receiver makes of the bytes that it reads, written from docs/wire.md independently of
// lib/core: everything is kept in strings and maps, and each rule of the page is one statement. The
// fuzzer compares it with the real one, arrival by arrival and counter by counter.
//
// It is slot 1. Before the first byte came it had sent alerts to each other incarnation that was
// there, the last of them a request, and all of them had left.
#ifndef ALERTPIPE_TEST_FUZZ_NAIVE_RECEIVER_H_
#define ALERTPIPE_TEST_FUZZ_NAIVE_RECEIVER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "naive_wire.h"

namespace alertpipe::fuzz {

// Known defects that the comparison must find; the numbers are those of packet_stream's canaries.
enum Defect : int {
  kTrustsTotal = 1,
  kOrphanHarmsOthers,
  kChargesClaims,
  kKeepsPartsOfTheDead,
  kGuessesPackets,
};

struct NaiveArrival {
  enum class Kind { kAlert, kResponse, kLateResponse, kControl, kReject, kDamage };
  Kind kind = Kind::kAlert;
  int slot = -1;
  std::uint32_t generation = 0;
  std::uint32_t pid = 0;
  std::string name;
  std::string data;
  bool response = false;
  std::uint64_t request_id = 0;
  std::uint64_t alert_id = 0;
  int damage = 0;  // 0: framing, 1: packet, 2: record
  std::uint64_t damage_bytes = 0;
  int record = 0;  // of control
};
bool operator==(const NaiveArrival& a, const NaiveArrival& b);
std::string ToText(const NaiveArrival& arrival);

struct NaiveSlot {
  enum State { kFree, kStarting, kUp, kDraining, kDown };
  std::uint32_t generation = 0;
  std::uint32_t pid = 0;
  State state = kFree;

  bool lives() const { return state == kStarting || state == kUp || state == kDraining; }
  bool IsDead(std::uint64_t which) const {
    return which < generation || (which == generation && !lives());
  }
};

// A barrier of this receiver that has ended, and the slots of those that died instead.
struct NaiveBarrier {
  std::uint64_t id = 0;
  std::vector<int> died;
};

struct NaiveLimits {
  std::uint64_t alert_bytes = 0;
  std::uint64_t reassembly_bytes = 0;
};

// Counters, by the names of the library's.
using NaiveCounters = std::map<std::string, std::uint64_t>;

class NaiveReceiver {
 public:
  NaiveReceiver(std::vector<NaiveSlot> roster, std::uint32_t generation, const NaiveLimits& limits)
      : roster_(std::move(roster)), self_generation_(generation), limits_(limits) {}

  std::vector<NaiveSlot>& roster() { return roster_; }
  // Alerts with the ids 1 to `id` have been sent to that incarnation, the last of them a request.
  void Sent(int slot, std::uint32_t generation, std::uint64_t id, std::uint64_t request_id) {
    sent_[slot] = {generation, id, 0};
    requests_[request_id] = {slot, generation, id};
  }
  // All of those are asked for barrier `id`, after the last; ids count up. `left`: it has left.
  void AskedBarrier(std::uint64_t id, bool left);

  // One read. `less`: it returned less than was asked for.
  std::vector<NaiveArrival> Read(std::string_view bytes, bool less);

  const NaiveCounters& counters() const { return counters_; }
  std::uint64_t held() const;
  // The number of the next alert of this sender, as far as is known.
  std::uint64_t expected(int slot) { return streams_[slot].expected; }
  // How many bytes are there of what may become a packet.
  std::size_t waiting() const { return pending_.size(); }
  // What has to be written to those that live: ids of alerts that are sent back, of barriers that
  // are acknowledged, of own barriers.
  struct ReturnsTo {
    std::uint32_t generation = 0;
    std::vector<std::uint64_t> rejects;
    std::vector<std::uint64_t> acknowledgements;
    std::vector<std::uint64_t> barriers;
  };
  ReturnsTo Returns(int slot);
  const std::vector<NaiveBarrier>& barriers() const { return barriers_; }
  // Whether the master has said that this receiver is being replaced.
  bool told_to_drain() const { return told_to_drain_; }
  // Ids of requests that have ended without a response, in their order.
  const std::vector<std::uint64_t>& ended() const { return ended_; }
  // Ids of own alerts that were rejected and were no requests.
  const std::vector<std::uint64_t>& undelivered() const { return undelivered_; }

 private:
  enum class State { kNothing, kParts, kSkipping };
  struct Stream {
    std::uint32_t generation = 0;
    std::uint32_t dead = 0;
    std::uint64_t expected = 1;
    bool after_loss = false;  // framing was lost since it began an alert
    State state = State::kNothing;
    NaiveArrival alert;
    std::uint64_t total = 0;
  };
  struct Sender {
    std::uint32_t generation = 0;
    std::uint64_t last = 0;
    std::uint64_t rejected = 0;
  };
  struct Request {
    int slot = 0;
    std::uint32_t generation = 0;
    std::uint64_t alert_id = 0;
  };
  struct Barrier {
    std::uint64_t id = 0;
    std::map<int, std::uint32_t> waiting;
    std::vector<int> died;
  };

  bool Is(Defect defect) const;
  std::size_t LoseFraming(std::string_view bytes, bool less);
  void Packet(const NaiveHeader& header, std::string_view body);
  void CountStale(std::string_view body);
  bool PacketIsWrong(const NaiveHeader& header);
  void Follow(const NaiveHeader& header);
  // These return false when the rest of the packet has to go.
  bool TakeRecord(const NaiveHeader& header, const NaiveRecord& record);
  bool Start(const NaiveHeader& header, const NaiveRecord& record);
  bool Part(const NaiveHeader& header, const NaiveRecord& record);
  void Keep(Stream* stream, const NaiveRecord& record);
  void Alert(NaiveArrival alert);
  void Drop(Stream* stream);
  void Control(const NaiveHeader& header, const NaiveRecord& record);
  bool ControlIsGood(const NaiveHeader& header, const NaiveRecord& record);
  bool Died(std::string_view body);
  void Bury(int slot, std::uint32_t generation);
  void LookAgain(bool less);
  bool Joined(std::string_view body);
  bool Rejected(const NaiveHeader& header, const NaiveRecord& record);
  bool Unhandled(const NaiveHeader& header, std::string_view body);
  bool AskedBy(const NaiveHeader& header, std::string_view body);
  bool Acknowledged(const NaiveHeader& header, std::string_view body);
  bool Draining(const NaiveHeader& header, std::string_view body);
  void SettleBarriers();
  // What is kept for that incarnation. Null: it is dead, its successor has something kept already.
  ReturnsTo* ReturnsFor(int slot, std::uint32_t generation);
  bool End(std::uint64_t request_id, int slot, std::uint32_t generation);
  void Damage(int kind, std::uint64_t bytes, int slot);

  std::vector<NaiveSlot> roster_;
  std::uint32_t self_generation_;
  NaiveLimits limits_;
  std::string pending_;
  bool lost_ = false;
  bool lost_now_ = false;             // in this read
  std::vector<NaiveSlot> lost_then_;  // the roster when that was
  std::map<int, Stream> streams_;
  std::map<int, Sender> sent_;
  std::map<std::uint64_t, Request> requests_;
  std::map<int, ReturnsTo> returns_;
  std::vector<Barrier> open_barriers_;
  std::uint64_t last_barrier_ = 0;
  std::vector<NaiveBarrier> barriers_;
  bool told_to_drain_ = false;
  std::vector<std::uint64_t> ended_;
  std::vector<std::uint64_t> undelivered_;
  NaiveCounters counters_;
  std::vector<NaiveArrival> arrivals_;
};

}  // namespace alertpipe::fuzz

#endif  // ALERTPIPE_TEST_FUZZ_NAIVE_RECEIVER_H_
