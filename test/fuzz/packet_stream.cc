// SPDX-License-Identifier: Apache-2.0
//
// Bytes of many pretended senders, right and wrong, in reads of any length, while the roster
// changes: the real receiver and the naive one must see the same. The input is a program whose
// steps write packets (with a good check, so that the fuzzer gets past it), spoil them, write raw
// bytes, read, and change the roster.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "../core/heap_roster.h"
#include "../core/memory_faults.h"
#include "core/endpoint.h"
#include "fuzz.h"
#include "naive_receiver.h"

namespace alertpipe::fuzz {

const char* const kTargetName = "packet_stream";
const std::vector<const char*> kCanaries = {
    "the total is trusted: parts may add up to something else",
    "an orphan part destroys the alerts of others",
    "what is claimed is charged, not what has come",
    "the parts of a dead sender are kept",
    "after bytes that are no packet the next magic is taken for one",
};

namespace {

constexpr int kSlots = 6;
constexpr int kSelf = 1;
constexpr std::uint32_t kSelfGeneration = 5;
constexpr std::uint32_t kPeerGeneration = 3;
constexpr std::uint64_t kAlertsSent = 4;
constexpr std::uint64_t kBarriers = 3;
constexpr std::size_t kWireBytesMax = 1 << 18;

enum Step : std::uint8_t { kPacket, kSpoiledPacket, kRaw, kRead, kRoster, kAgain, kFiller, kSteps };

class Run {
 public:
  explicit Run(std::string_view bytes) : input_(bytes) {}

  void Go() {
    core::MemoryFaults memory;
    SetUp();
    while (!input_.empty()) Do(static_cast<Step>(input_.Pick(kSteps)));
    while (!wire_.empty()) Read(wire_.size());
    Read(0);
    CheckReturns();
    // Twice what is held, blocks double; a block for each sender and a spare one.
    const std::size_t held_max = static_cast<std::size_t>(settings_.reassembly_bytes_max);
    Require(memory.peak_bytes() <= read_buffer_ + 4 * (held_max + 65536) + 65536 * kSlots,
            "more memory than the budget allows");
    endpoint_.reset();
    Require(memory.live_blocks() == 0, "a block was not freed");
  }

 private:
  void SetUp() {
    const std::uint64_t capacities[] = {64, 4096, 16384, 1000};
    const std::uint64_t alerts[] = {5000, 100, 200000, 40000};
    const std::uint64_t budgets[] = {300000, 0, 3000, 20000};
    settings_ = core::GenerousSettings(kSlots);
    settings_.pipe_capacity = input_.OneOf(capacities);
    settings_.alert_bytes_max = input_.OneOf(alerts);
    settings_.reassembly_bytes_max = input_.OneOf(budgets);
    read_buffer_ = settings_.pipe_capacity + 4096;
    roster_ = std::make_unique<core::HeapRoster>(settings_);
    std::vector<NaiveSlot> words(kSlots);
    for (int slot = 0; slot < kSlots - 1; ++slot) {
      const std::uint32_t generation = slot == kSelf ? kSelfGeneration : kPeerGeneration;
      words[static_cast<std::size_t>(slot)] = {generation, PidOf(slot), NaiveSlot::kUp};
      roster_->Publish(slot, generation, SlotState::kUp, PidOf(slot));
    }
    const NaiveLimits limits{settings_.alert_bytes_max, settings_.reassembly_bytes_max};
    naive_ = std::make_unique<NaiveReceiver>(words, kSelfGeneration, limits);
    page_ = std::make_unique<core::CounterPage>();
    const Peer self{static_cast<pid_t>(PidOf(kSelf)), kSelf, kSelfGeneration};
    endpoint_ = std::make_unique<core::Endpoint>(roster_->roster(), self, page_.get(), nullptr);
    Require(endpoint_->inbox().Allocate(), "no memory");
    for (int slot = 0; slot < kSlots - 1; ++slot) {
      if (slot != kSelf) SendTo(slot);
    }
    for (std::uint64_t id = 1; id <= kBarriers; ++id) AskBarrier(id);
  }

  void AskBarrier(std::uint64_t id) {
    std::vector<core::Target> targets;
    endpoint_->SelectLiving(Scope::kFamily, &targets);
    targets.erase(std::remove_if(targets.begin(), targets.end(),
                                 [](const core::Target& target) { return target.slot == kSelf; }),
                  targets.end());
    BarrierCallback callback = [this, id](const BarrierReport& report) {
      Require(report.status.ok() && report.missing.empty(), "a barrier has failed");
      NaiveBarrier barrier{id, {}};
      for (const Peer& peer : report.died) barrier.died.push_back(peer.slot);
      barriers_.push_back(barrier);
    };
    Require(endpoint_->BeginBarrier(targets, core::kNever, &callback).ok(), "no barrier");
    // The last one has to wait.
    const bool left = id < kBarriers;
    for (int slot = 0; left && slot < kSlots; ++slot) WriteAll(slot);
    naive_->AskedBarrier(id, left);
  }

  static std::uint32_t PidOf(int slot) { return 1000 + static_cast<std::uint32_t>(slot); }

  // Some alerts and a request, which leave at once.
  void SendTo(int slot) {
    core::Target target;
    Require(endpoint_->Resolve(To::Slot(slot), &target).ok(), "no receiver");
    std::uint64_t request = 0;
    for (std::uint64_t i = 1; i <= kAlertsSent; ++i) {
      core::Content content{"n", "d"};
      if (i == kAlertsSent) {
        ResponseCallback callback = [](Response&) {};
        Require(endpoint_->BeginRequest(target, core::kNever, &callback, &request).ok(), "request");
        content.flags = core::kHasRequestId;
        content.request_id = request;
      }
      const core::Admission admission = endpoint_->Accept(target, content, nullptr, false, true);
      Require(admission.status.ok(), "not accepted");
      RequireEqual(admission.alert_id, i, "alert id");
    }
    endpoint_->KeepRequest(request, target, kAlertsSent);
    WriteAll(slot);
    naive_->Sent(slot, kPeerGeneration, kAlertsSent, request);
    requests_.push_back(request);
  }

  std::string WriteAll(int slot) {
    std::string written;
    iovec parts[core::Outbox::kPartsMax];
    while (const int count = endpoint_->NextWrite(slot, parts, false)) {
      std::size_t bytes = 0;
      for (int i = 0; i < count; ++i) {
        written.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
        bytes += parts[i].iov_len;
      }
      endpoint_->Wrote(slot, bytes);
    }
    return written;
  }

  void Do(Step step) {
    switch (step) {
      case kPacket:
        last_ = MakePacket();
        return Write(last_);
      case kSpoiledPacket: {
        last_ = MakePacket();
        const std::size_t at = input_.Number(2) % last_.size();
        last_[at] = static_cast<char>(last_[at] ^ input_.Byte());
        return Write(last_);
      }
      case kRaw:
        return Write(input_.Bytes(input_.Byte()));
      case kRead: {
        const std::uint64_t bytes = input_.Number(2);
        return Read(bytes == 0 ? wire_.size() : bytes - 1);
      }
      case kRoster:
        return ChangeRoster();
      case kAgain:
        for (std::size_t i = input_.Pick(16); i > 0; --i) Write(last_);
        return;
      case kFiller:
        return Write(Pattern(input_.Byte() * std::size_t{16}, input_.Byte()));
      case kSteps:
        return;
    }
  }

  void Write(std::string_view bytes) {
    if (wire_.size() + bytes.size() <= kWireBytesMax) wire_ += bytes;
  }

  static std::string Pattern(std::size_t bytes, std::uint8_t seed) {
    std::string data(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(seed + 7 * i);
    return data;
  }

  // ---- Packets

  // What the writer of a slot's packets has begun, as it should go on.
  struct Writer {
    std::uint64_t next = 1;
    std::uint64_t rest = 0;  // of the alert that has begun
  };

  std::string MakePacket() {
    NaiveHeader header;
    header.source_slot = static_cast<int>(input_.Pick(8));
    const auto who = static_cast<std::size_t>(header.source_slot);
    Writer& writer = writers_[who];
    const std::uint32_t known = who < kSlots ? naive_->roster()[who].generation : 1;
    const std::uint32_t generations[] = {known, known - 1, known + 1, 0};
    const std::uint32_t destinations[] = {kSelfGeneration, kSelfGeneration - 1, kSelfGeneration + 1,
                                          0};
    header.source_generation = generations[Oddly()];
    header.destination_generation = destinations[Oddly()];
    header.source_pid = PidOf(header.source_slot);
    switch (Oddly()) {
      case 1:
        writer.next = naive_->expected(header.source_slot);
        break;
      case 2:
        writer.next += input_.Byte();
        break;
      case 3:
        writer.next = input_.Number(8);
        break;
    }
    header.sequence = writer.next;
    if (Oddly() == 3) header.lane = input_.Byte();
    std::string body;
    for (std::size_t i = 1 + input_.Pick(4); i > 0; --i) {
      const std::string record = MakeRecord(&writer, 4096 - 32 - body.size());
      if (body.size() + record.size() <= 4096 - 32) body += record;
    }
    header.length = 32 + body.size();
    return WriteHeader(header) + body;
  }

  // 0 for most bytes, 1 to 3 for a few.
  std::size_t Oddly() {
    const std::size_t byte = input_.Byte();
    return byte >= 0xf0 ? byte % 4 : 0;
  }

  std::string MakeRecord(Writer* writer, std::size_t room) {
    static constexpr int kKinds[] = {1, 2, 3, 4, 16, 17, 18, 19, 20, 21, 22, 0};
    NaiveRecord record;
    record.kind = input_.OneOf(kKinds);
    const std::uint8_t flags = input_.Byte();
    if ((flags & 3) != 0) {
      record.has_request_id = (flags & 1) != 0;
      record.response = (flags & 2) != 0;
      record.request_id = RequestId();
    }
    const std::size_t overhead = std::min<std::size_t>(room, 4 + 8 + 4);
    if (record.control()) {
      record.data = MakeControl(record.kind);
      if ((flags & 4) != 0) record.name = Pattern(input_.Byte(), 'n');
    } else if (record.starts()) {
      record.name = Pattern(input_.Byte(), 'a');
      record.data = Data(room - overhead - std::min(room - overhead, record.name.size()));
      Begin(record, writer);
      record.total = record.data.size() + writer->rest;
    } else {
      const std::size_t exact = std::min<std::size_t>(writer->rest, room - overhead);
      record.data = (flags & 8) != 0 ? Pattern(exact, flags) : Data(room - overhead);
      writer->rest -= std::min<std::uint64_t>(writer->rest, record.data.size());
      if ((flags & 16) != 0) record.name = "x";
    }
    std::string bytes = WriteRecord(record);
    if ((flags & 0x80) != 0 && (flags & 0x40) != 0) bytes[0] = static_cast<char>(bytes[0] | 0x80);
    return bytes;
  }

  void Begin(const NaiveRecord& record, Writer* writer) {
    const std::size_t rests[] = {1, 10, 4060, 9000};
    ++writer->next;
    if (record.kind == 1) return;
    const std::size_t choice = input_.Byte();
    writer->rest = choice < 4 ? rests[choice] : input_.Number(choice < 250 ? 2 : 4);
  }

  std::string Data(std::size_t max) {
    const std::size_t bytes = input_.Number(2);
    return Pattern(std::min(bytes % 4100, max), input_.Byte());
  }

  std::uint64_t RequestId() {
    const std::size_t choice = input_.Byte();
    return choice < requests_.size() ? requests_[choice] : choice == 255 ? input_.Number(8) : 0;
  }

  std::string MakeControl(int kind) {
    if ((input_.Byte() & 0xf) == 15) return Pattern(input_.Byte(), 1);
    switch (kind) {
      case 16: {
        const std::uint64_t alert = input_.Byte();
        return NumberBytes(alert, 8) + NumberBytes(RequestId(), 8) + NumberBytes(input_.Byte(), 1);
      }
      case 17:
      case 18:
      case 19: {
        const std::size_t slot = input_.Pick(8);
        const std::uint64_t known = slot < kSlots ? naive_->roster()[slot].generation : 1;
        const std::uint64_t generation = known + input_.Pick(4) - 1;
        const std::string body = NumberBytes(slot, 2) + NumberBytes(generation, 4);
        if (kind == 18) return body;
        if (kind == 19) return body + NumberBytes(input_.Pick(8), 2);
        return body + NumberBytes(PidOf(static_cast<int>(slot)) + (input_.Byte() & 1), 4);
      }
      case 22: {
        std::string ids;
        for (std::size_t i = 1 + input_.Pick(3); i > 0; --i) ids += NumberBytes(RequestId(), 8);
        return ids;
      }
      default:
        return NumberBytes(input_.Number(2), 8);
    }
  }

  // ---- Roster

  void ChangeRoster() {
    const std::size_t slot = input_.Pick(kSlots);
    if (slot == 0) return;
    const NaiveSlot::State states[] = {NaiveSlot::kDown, NaiveSlot::kStarting, NaiveSlot::kUp,
                                       NaiveSlot::kDraining};
    NaiveSlot& word = naive_->roster()[slot];
    const NaiveSlot::State state = input_.OneOf(states);
    const bool next = input_.Flag();
    const bool pid_known = !input_.Flag();
    if (slot == kSelf) {
      // It reads, so it lives.
      word.state = state == NaiveSlot::kDraining ? state : NaiveSlot::kUp;
    } else {
      // Generations only grow.
      if (next && word.generation < 100) ++word.generation;
      if (word.generation == 0) return;
      word.state = state;
      word.pid = pid_known ? PidOf(static_cast<int>(slot)) : 0;
    }
    roster_->Publish(static_cast<int>(slot), word.generation, static_cast<SlotState>(word.state),
                     word.pid);
  }

  // ---- Reading

  void Read(std::size_t wanted) {
    core::Inbox& inbox = endpoint_->inbox();
    const std::size_t space = inbox.space_bytes();
    RequireEqual(space, read_buffer_ - naive_->waiting(), "room for a read");
    const std::size_t taken = std::min({wanted, wire_.size(), space});
    const std::string bytes = wire_.substr(0, taken);
    wire_.erase(0, taken);
    if (taken > 0) std::memcpy(inbox.space(), bytes.data(), taken);
    inbox.Received(taken);
    std::vector<NaiveArrival> expected = naive_->Read(bytes, taken < space);
    std::size_t count = 0;
    core::Arrival arrival;
    for (endpoint_->NextArrival(&arrival); arrival.kind != core::Arrival::Kind::kNone;
         endpoint_->NextArrival(&arrival)) {
      const NaiveArrival seen = Plain(arrival);
      if (count == expected.size()) throw Violation("one too many: " + ToText(seen));
      if (!(seen == expected[count]))
        throw Violation("seen " + ToText(seen) + "\nexpected " + ToText(expected[count]));
      ++count;
      if (arrival.kind == core::Arrival::Kind::kResponse) {
        const bool found = endpoint_->TakeResponse(arrival) != nullptr;
        Require(found, "a response without a callback");
      }
    }
    if (count < expected.size()) throw Violation("missing: " + ToText(expected[count]));
    CheckCounters();
    CheckEvents();
  }

  static NaiveArrival Plain(const core::Arrival& arrival) {
    using Kind = core::Arrival::Kind;
    NaiveArrival plain;
    if (arrival.kind == Kind::kDamage) {
      plain.kind = NaiveArrival::Kind::kDamage;
      plain.damage = static_cast<int>(arrival.damage.kind);
      plain.damage_bytes = arrival.damage.bytes_discarded;
      plain.slot = arrival.damage.claimed_slot;
      return plain;
    }
    plain.slot = arrival.sender.slot;
    plain.generation = arrival.sender.generation;
    plain.pid = static_cast<std::uint32_t>(arrival.sender.pid);
    if (arrival.kind == Kind::kControl) {
      plain.kind = NaiveArrival::Kind::kControl;
      plain.record = static_cast<int>(arrival.record.kind);
      return plain;
    }
    plain.kind = arrival.kind == Kind::kReject         ? NaiveArrival::Kind::kReject
                 : arrival.kind == Kind::kResponse     ? NaiveArrival::Kind::kResponse
                 : arrival.kind == Kind::kLateResponse ? NaiveArrival::Kind::kLateResponse
                                                       : NaiveArrival::Kind::kAlert;
    plain.name = std::string(arrival.name);
    if (arrival.kind == Kind::kReject) {
      plain.alert_id = arrival.alert_id;
    } else {
      plain.data = std::string(arrival.data);
    }
    plain.response = (arrival.flags & core::kIsResponse) != 0;
    plain.request_id = arrival.request_id;
    return plain;
  }

  void CheckCounters() {
    const Stats stats = page_->Snapshot();
    const NaiveCounters& naive = naive_->counters();
    const auto check = [&naive](std::uint64_t seen, const char* name) {
      const auto at = naive.find(name);
      RequireEqual(seen, at == naive.end() ? 0 : at->second, name);
    };
    check(stats.packets_read, "packets_read");
    check(stats.control_read, "control_read");
    check(stats.alerts_stale, "alerts_stale");
    check(stats.alerts_rejected, "alerts_rejected");
    check(stats.partials_dropped, "partials_dropped");
    check(stats.responses_received, "responses_received");
    check(stats.responses_late, "responses_late");
    check(stats.damaged_framing, "damaged_framing");
    check(stats.damaged_bytes, "damaged_bytes");
    check(stats.damaged_packets, "damaged_packets");
    check(stats.damaged_records, "damaged_records");
    check(stats.lost_alerts, "lost_alerts");
    check(stats.rejects_dropped, "rejects_dropped");
    RequireEqual(endpoint_->meter().reassembly_bytes(), naive_->held(), "reassembly_bytes");
    Require(stats.reassembly_bytes_peak <= settings_.reassembly_bytes_max, "over the budget");
  }

  void CheckEvents() {
    core::Event event;
    while (endpoint_->NextEvent(&event)) {
      if (event.kind == core::Event::Kind::kUndelivered)
        undelivered_.push_back(event.undelivered.alert_id);
      if (event.kind == core::Event::Kind::kDraining) ++told_to_drain_;
    }
    core::EndedRequest ended;
    while (endpoint_->NextEnded(&ended)) ended_.push_back(ended.id);
    core::EndedBarrier barrier;
    while (endpoint_->NextEndedBarrier(&barrier)) barrier.callback(barrier.report);
    RequireEqual(barriers_.size(), naive_->barriers().size(), "barriers that have ended");
    for (std::size_t i = 0; i < barriers_.size(); ++i) {
      RequireEqual(barriers_[i].id, naive_->barriers()[i].id, "barrier");
      Require(barriers_[i].died == naive_->barriers()[i].died, "other peers died");
    }
    RequireEqual(told_to_drain_, naive_->told_to_drain() ? 1 : 0, "told to drain");
    Require(undelivered_ == naive_->undelivered(), "undelivered alerts differ");
    Require(ended_ == naive_->ended(), "ended requests differ");
    Require(!endpoint_->has_events(), "events are left");
  }

  // What is sent back is what has to be, and nothing else.
  void CheckReturns() {
    for (int slot = 0; slot < kSlots; ++slot) {
      const NaiveReceiver::ReturnsTo expected = naive_->Returns(slot);
      const std::string written = WriteAll(slot);
      std::string_view rest = written;
      NaiveReceiver::ReturnsTo seen;
      while (!rest.empty()) {
        NaiveHeader header;
        Require(ReadHeader(rest, &header) == Looks::kPacket, "not a packet");
        std::string_view body = rest.substr(32, header.length - 32);
        rest.remove_prefix(header.length);
        while (!body.empty()) {
          NaiveRecord record;
          Require(ReadRecord(body, &record) && record.data.size() >= 8, "not a record");
          Require(record.kind == 16 || record.kind == 20 || record.kind == 21, "another record");
          std::vector<std::uint64_t>& ids = record.kind == 16   ? seen.rejects
                                            : record.kind == 20 ? seen.barriers
                                                                : seen.acknowledgements;
          ids.push_back(NumberAt(record.data, 0, 8));
          body.remove_prefix(record.size);
        }
      }
      Require(seen.rejects == expected.rejects, "the rejects differ");
      Require(seen.acknowledgements == expected.acknowledgements, "the acknowledgements differ");
      Require(seen.barriers == expected.barriers, "the barriers differ");
    }
  }

  Input input_;
  core::FamilySettings settings_;
  std::size_t read_buffer_ = 0;
  std::unique_ptr<core::HeapRoster> roster_;
  std::unique_ptr<NaiveReceiver> naive_;
  std::unique_ptr<core::CounterPage> page_;
  std::unique_ptr<core::Endpoint> endpoint_;
  std::vector<std::uint64_t> requests_;
  Writer writers_[8];
  std::string wire_;
  std::string last_ = "?";
  std::vector<std::uint64_t> undelivered_;
  std::vector<std::uint64_t> ended_;
  std::vector<NaiveBarrier> barriers_;
  int told_to_drain_ = 0;
};

}  // namespace

void RunOne(std::string_view input) { Run(input).Go(); }

// Settings, then steps. A packet is: slot, source generation, destination, sequence, lane, records
// less one; a record: kind, flags, and what its kind takes.
std::vector<Seed> Seeds() {
  const auto whole = [](Script& script, int slot) {
    script(kPacket, slot, 0, 0, 0, 0, 0)(0, 0, 3).Number(20, 2)('d');
  };
  // First with `data` bytes and the choice of a rest, then nothing.
  const auto first = [](Script& script, int slot, int data, int rest) {
    script(kPacket, slot, 0, 0, 0, 0, 0)(1, 0, 2).Number(static_cast<std::uint64_t>(data),
                                                         2)('f')(rest);
  };
  const auto exact = [](Script& script, int slot, int kind) {
    script(kPacket, slot, 0, 0, 0, 0, 0)(kind, 8);
  };
  const auto read_all = [](Script& script) { script(kRead).Number(0, 2); };
  std::vector<Seed> seeds;
  const auto add = [&seeds](const char* name, const Script& script) {
    seeds.push_back({name, script.str()});
  };

  Script mixed;
  mixed(2, 2, 0);
  whole(mixed, 2);
  first(mixed, 3, 100, 2);
  whole(mixed, 4);
  exact(mixed, 3, 3);
  whole(mixed, 0);
  read_all(mixed);
  add("several_senders", mixed);

  Script large;
  large(0, 2, 0);
  first(large, 2, 4000, 3);
  for (int i = 0; i < 2; ++i) {
    large(kPacket, 2, 0, 0, 0, 0, 0)(2, 0).Number(4060, 2)('m');
    large(kRead).Number(0, 2);
  }
  exact(large, 2, 3);
  first(large, 2, 10, 1);
  exact(large, 2, 3);
  add("large_in_full_reads", large);

  Script over;
  over(1, 0, 2);
  first(over, 2, 1000, 2);
  first(over, 3, 1000, 1);
  exact(over, 2, 3);
  exact(over, 3, 3);
  read_all(over);
  add("over_the_budget", over);

  Script broken;
  broken(2, 0, 0);
  whole(broken, 2);
  broken(kRaw, 5).Text("wrong");
  whole(broken, 3);
  read_all(broken);
  first(broken, 3, 50, 1);
  broken(kFiller, 255, 1)(kRead).Number(40, 2);
  whole(broken, 4);
  exact(broken, 3, 3);
  read_all(broken);
  add("framing_lost", broken);

  Script dead;
  dead(1, 0, 0);
  first(dead, 2, 300, 2);
  read_all(dead);
  dead(kRoster, 2, 0, 0, 0);
  dead(kPacket, 0, 0, 0, 0, 0, 0)(6, 0, 0, 2, 1);
  read_all(dead);
  whole(dead, 2);
  dead(kRoster, 2, 2, 1, 0);
  dead(kPacket, 0, 0, 0, 0, 0, 0)(5, 0, 0, 2, 1, 0);
  whole(dead, 2);
  read_all(dead);
  add("death_and_successor", dead);

  Script control;
  control(1, 0, 0);
  control(kPacket, 2, 0, 0, 0, 0, 2)(4, 0, 0, 1, 200, 1)(4, 0, 0, 4, 1, 1)(10, 0, 0, 0, 2);
  control(kPacket, 3, 0, 0, 0, 0, 0)(0, 3, 2, 0).Number(5, 2)('r');
  control(kPacket, 4, 0, 0, 0, 0, 0)(0, 3, 0, 0).Number(5, 2)('r');
  read_all(control);
  add("control", control);

  Script barriers;
  barriers(1, 0, 0);
  for (const int slot : {0, 2, 3}) barriers(kPacket, slot, 0, 0, 0, 0, 0)(9, 0, 0).Number(2, 2);
  for (const int slot : {2, 3}) barriers(kPacket, slot, 0, 0, 0, 0, 0)(8, 0, 0).Number(1, 2);
  barriers(kRoster, 4, 0, 0, 0)(kPacket, 0, 0, 0, 0, 0, 0)(6, 0, 0, 4, 1);
  barriers(kRoster, 1, 3, 0, 0)(kPacket, 0, 0, 0, 0, 0, 0)(7, 0, 0, 1, 1, 2);
  barriers(kRoster, 2, 3, 0, 0)(kPacket, 2, 0, 0, 0, 0, 0)(7, 0, 0, 2, 1, 3);
  read_all(barriers);
  add("barriers", barriers);

  // What a predecessor has left in the pipe is rejected, while a barrier waits for its successor.
  Script predecessor;
  predecessor(1, 0, 1);
  predecessor(kPacket, 2, 0xf1, 0, 0, 0, 0)(1, 0, 2).Number(100, 2)('f')(1);
  read_all(predecessor);
  add("predecessor_rejected", predecessor);

  Script forged;
  forged(1, 0, 0);
  whole(forged, 5);
  whole(forged, 7);
  forged(kPacket, 2, 0xf2, 0, 0, 0, 0)(0, 0, 1).Number(1, 2)('g');
  forged(kPacket, 2, 0, 0xf1, 0, 0, 0)(0, 0, 1).Number(1, 2)('s');
  forged(kPacket, 2, 0, 0, 0xf2, 9, 0, 0)(0, 0, 1).Number(1, 2)('h');
  forged(kSpoiledPacket, 2, 0, 0, 0, 0, 0)(0, 0, 1).Number(1, 2)('x').Number(33, 2)(0x90);
  exact(forged, 4, 2);
  forged(kAgain, 3);
  read_all(forged);
  add("forged", forged);
  return seeds;
}

}  // namespace alertpipe::fuzz
