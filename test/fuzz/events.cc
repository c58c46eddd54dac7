// SPDX-License-Identifier: Apache-2.0
//
// What events read from others. Three parts:
//   records  any bytes as the record of an event, beside a naive reader, and any values both ways.
//   book     the order book over a ring in which others write what they like: whatever stands
//   there,
//            each event that goes in comes out once at most, in its publisher's order, and the book
//            comes to rest.
//   keys     the table of unique keys over memory that others write: a claim ends, and what this
//            process has claimed in memory that nobody spoils is taken then.
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "../events/ring_memory.h"
#include "core/events/event_record.h"
#include "core/events/order_book.h"
#include "core/events/unique_table.h"
#include "fuzz.h"
#include "naive_wire.h"

namespace alertpipe::fuzz {

const char* const kTargetName = "events";
const std::vector<const char*> kCanaries = {
    "a name is taken to be as long as it says",
    "the number of a record is not read",
    "an event comes out again",
    "events of a publisher change places",
    "a key that was given back stays taken",
};

namespace {

enum Defect : int { kTrustsName = 1, kSkipsNumber, kRepeats, kSwaps, kForgetsRelease };

// ---- Records

// As docs/wire.md has it.
struct NaiveEvent {
  int kind = 0;
  bool ordered = false, retained = false;
  std::uint64_t number = 0, time = 0, count = 0;
  std::string source, name, data;
};

bool ReadEvent(std::string_view bytes, NaiveEvent* event) {
  if (bytes.size() < 3) return false;
  const std::uint64_t first = NumberAt(bytes, 0, 1);
  event->kind = static_cast<int>(first & 15);
  event->ordered = (first & 16) != 0;
  event->retained = (first & 32) != 0;
  if (first > 63 || event->kind < 1 || event->kind > 5) return false;
  const bool is_event = event->kind == 1 || event->kind == 4;
  if (!is_event && (event->ordered || event->retained)) return false;
  const std::size_t source_bytes = NumberAt(bytes, 1, 1);
  const std::size_t name_bytes = NumberAt(bytes, 2, 1);
  std::size_t at = 3;
  for (const auto& [there, field] :
       {std::pair(event->ordered || event->kind == 3 || event->kind == 5, &event->number),
        std::pair(event->retained, &event->time), std::pair(event->kind == 2, &event->count)}) {
    if (!there) continue;
    if (bytes.size() < at + 8) return false;
    *field = NumberAt(bytes, at, 8);
    at += 8;
  }
  if (planted == kSkipsNumber) event->number = 7;
  if (bytes.size() < at + source_bytes + name_bytes) return planted == kTrustsName;
  event->source = bytes.substr(at, source_bytes);
  event->name = bytes.substr(at + source_bytes, name_bytes);
  event->data = bytes.substr(at + source_bytes + name_bytes);
  return !event->ordered || event->number != 0;
}

void CheckRecord(std::string_view bytes) {
  // A block of its own, so that AddressSanitizer sees what is read behind it.
  const std::unique_ptr<char[]> block(new char[bytes.size()]);
  if (!bytes.empty()) std::memcpy(block.get(), bytes.data(), bytes.size());
  const std::string_view there(block.get(), bytes.size());
  core::EventRecord record;
  NaiveEvent naive;
  const bool good = ReadEvent(bytes, &naive);
  RequireEqual(record.Decode(there), good, "is it the record of an event?");
  if (!good) return;
  RequireEqual(static_cast<int>(record.kind), naive.kind, "kind");
  RequireEqual(record.ordered, naive.ordered, "ordered");
  RequireEqual(record.retained, naive.retained, "retained");
  RequireEqual(record.number, naive.number, "number");
  RequireEqual(record.time_ns, naive.time, "time");
  RequireEqual(record.count, naive.count, "count");
  Require(record.source == naive.source && record.name == naive.name && record.data == naive.data,
          "source, name or data");
  const std::size_t head = record.HeadBytes();
  RequireEqual(head + record.data.size(), bytes.size(), "bytes of the head");
  const std::unique_ptr<char[]> again(new char[head]);
  RequireEqual(record.EncodeHead(again.get()), head, "bytes written");
  Require(std::string_view(again.get(), head) == bytes.substr(0, head),
          "a record is not the same when it is written again");
}

void WriteAnyRecord(Input* input) {
  core::EventRecord record;
  const std::uint8_t flags = input->Byte();
  record.kind = static_cast<core::EventKind>(1 + flags % 5);
  const bool is_event =
      record.kind == core::EventKind::kEvent || record.kind == core::EventKind::kKept;
  record.ordered = is_event && (flags & 64) != 0;
  record.retained = is_event && (flags & 128) != 0;
  record.number = 1 + input->Number(8) % (std::uint64_t{1} << 62);
  record.time_ns = input->Number(8);
  record.count = input->Number(8);
  record.source = input->Bytes(input->Byte());
  record.name = input->Bytes(input->Byte());
  record.data = input->Bytes(input->Number(2));
  std::string bytes(record.HeadBytes(), '\0');
  record.EncodeHead(bytes.data());
  CheckRecord(bytes + std::string(record.data));
}

// ---- The book

constexpr int kSlots = 4;
constexpr std::uint64_t kPlaces = 8;

// Any steps of one receiver, while others write into the ring.
class Reader {
 public:
  explicit Reader(std::uint64_t start)
      : memory_(kPlaces), book_(memory_.ring(), PeerIn(1), kSlots, start) {}

  void Run(Input* input) {
    while (!input->empty()) Step(input);
    // All publishers have died, and nobody writes any more.
    for (int slot = 1; slot < kSlots; ++slot) book_.PublisherDied(slot, ~0U);
    for (int i = 0; i < 64 && book_.held() > 0; ++i) Read();
    RequireEqual(book_.held(), 0U, "something is held of those that have died");
    RequireEqual(book_.held_bytes(), 0U, "bytes are held of nothing");
    RequireEqual(out_.size(), in_, "something that went in has not come out");
  }

 private:
  static Peer PeerIn(int slot) { return {100 + slot, slot, 1}; }

  void Step(Input* input) {
    switch (input->Pick(7)) {
      case 0:
        return Hold(1 + static_cast<int>(input->Pick(kSlots - 1)), input->Flag());
      case 1: {
        const int slot = 1 + static_cast<int>(input->Pick(kSlots - 1));
        return book_.Claimed(PeerIn(slot), input->Number(2));
      }
      case 2: {
        const int slot = 1 + static_cast<int>(input->Pick(kSlots - 1));
        memory_.Claim(slot, 1, static_cast<std::uint32_t>(input->Number(1)), input->Byte() % 4);
        return;
      }
      case 3:
        memory_.memory().tail = input->Number(input->Flag() ? 1 : 8);
        return;
      case 4:
        memory_.memory().words[input->Pick(kPlaces)] = input->Number(8);
        return;
      case 5:
        return Read();
      default:
        return Take();
    }
  }

  void Hold(int slot, bool ordered) {
    core::OrderBook::Item item;
    item.publisher = PeerIn(slot);
    if (!ordered && !book_.Holds(item.publisher)) return;  // it would not be held
    // Its number among all that this publisher has sent here travels as its data.
    const std::uint64_t number = ++sent_[slot];
    item.sequence = ordered ? ++numbered_[slot] : 0;
    item.data = *Buffer::Copy(NumberBytes(number, 8));
    book_.Hold(std::move(item));
    ++in_;
  }

  // A read that finds nothing more, and what it is good for.
  void Read() {
    ++reads_;
    book_.HasRead(reads_);
    book_.Look(reads_);
    Take();
  }

  void Take() {
    core::OrderBook::Item item;
    for (std::size_t i = 0; i <= in_; ++i) {
      const core::OrderBook::Release release = book_.Next(&item);
      if (release == core::OrderBook::Release::kNothing) return;
      Note(item);
      if (planted == kRepeats && in_ > 3) Note(item);
    }
    throw Violation("more comes out than went in");
  }

  void Note(const core::OrderBook::Item& item) {
    const int slot = item.publisher.slot;
    std::uint64_t number = NumberAt(item.data.view(), 0, 8);
    if (planted == kSwaps && number == 2) number = 0;
    Require(out_.insert({slot, number}).second, "an event comes out twice");
    Require(number > last_[slot], "events of one publisher are out of order");
    last_[slot] = number;
  }

  core::RingMemory memory_;
  core::OrderBook book_;
  core::ReadCount reads_ = 0;
  std::size_t in_ = 0;
  std::map<int, std::uint64_t> sent_, numbered_, last_;
  std::set<std::pair<int, std::uint64_t>> out_;
};

// ---- Unique keys

class Keys {
 public:
  Keys()
      : bytes_(core::UniqueTable::Bytes(kSlots, kCells)),
        memory_(std::aligned_alloc(64, (bytes_ + 63) / 64 * 64), std::free) {
    std::memset(memory_.get(), 0, bytes_);
    for (int slot = 0; slot < kSlots; ++slot)
      tables_.emplace_back(memory_.get(), kSlots, kCells, slot);
  }

  void Run(Input* input) {
    while (!input->empty()) {
      if (input->Pick(8) == 0) {
        Spoil(input);
      } else {
        Claim(input);
      }
    }
  }

 private:
  static constexpr std::uint32_t kCells = 3;
  static constexpr std::uint64_t kTimeout = 50;

  void Spoil(Input* input) {
    const std::size_t words = bytes_ / sizeof(std::uint64_t);
    const std::uint64_t word = input->Number(8);
    std::memcpy(static_cast<char*>(memory_.get()) + input->Number(2) % words * sizeof word, &word,
                sizeof word);
    spoiled_ = true;
  }

  void Claim(Input* input) {
    const std::string key(1 + input->Pick(3), static_cast<char>('a' + input->Pick(4)));
    core::UniqueTable& table = tables_[input->Pick(kSlots)];
    const bool gives_back = input->Pick(4) == 0;
    now_ += input->Pick(20);
    core::UniqueTable::Claim claim;
    claim.key = key;
    table.Open(&claim);
    const core::UniqueTable::Verdict verdict = table.Try(&claim, now_, kTimeout);
    // What others spoil may make any verdict.
    if (spoiled_) return;
    const auto taken = taken_until_.find(key);
    const bool is_taken = taken != taken_until_.end() && taken->second > now_;
    Require(verdict != core::UniqueTable::Verdict::kAgain, "nobody has claimed meanwhile");
    Require((verdict == core::UniqueTable::Verdict::kTaken) == is_taken, "is the key taken?");
    if (verdict != core::UniqueTable::Verdict::kClaimed) return;
    taken_until_[key] = now_ + kTimeout;
    if (!gives_back) return;
    table.Release(claim);
    if (planted != kForgetsRelease) taken_until_.erase(key);
  }

  std::size_t bytes_;
  std::unique_ptr<void, void (*)(void*)> memory_;
  std::vector<core::UniqueTable> tables_;
  std::map<std::string, std::uint64_t> taken_until_;
  std::uint64_t now_ = 1000;
  bool spoiled_ = false;
};

enum Part : std::uint8_t { kAnyBytes, kAnyValues, kBook, kKeys, kParts };

}  // namespace

void RunOne(std::string_view bytes) {
  Input input(bytes);
  switch (static_cast<Part>(input.Pick(kParts))) {
    case kAnyBytes:
      return CheckRecord(input.Bytes(bytes.size()));
    case kAnyValues:
      while (!input.empty()) WriteAnyRecord(&input);
      return;
    case kBook:
      return Reader(input.Byte()).Run(&input);
    case kKeys:
      return Keys().Run(&input);
    case kParts:
      return;
  }
}

std::vector<Seed> Seeds() {
  return {
      {"event", Script()(kAnyBytes)(1, 2, 3).Text("sonameand data").str()},
      {"ordered",
       Script()(kAnyBytes)(0x31, 1, 1).Number(9, 8).Number(99, 8).Text("snand data").str()},
      {"gap", Script()(kAnyBytes)(2, 1, 1).Number(3, 8).Text("sn").str()},
      {"claimed", Script()(kAnyBytes)(3, 0, 0).Number(5, 8).str()},
      {"values", Script()(kAnyValues)(192)
                     .Number(1, 8)
                     .Number(2, 8)
                     .Number(3, 8)(1)
                     .Text("s")(1)
                     .Text("n")
                     .Number(2, 2)
                     .Text("ab")
                     .str()},
      // Three of slot 2 are held, the first two get a place, then everything is read.
      {"book", Script()(kBook, 0)(0, 1, 1)(0, 1, 1)(0, 1, 1)(0, 1, 0)(2, 1, 2, 2)(5)(6)(1, 1)
                   .Number(2, 2)(5)
                   .str()},
      {"own", Script()(kBook, 0)(0, 0, 1)(0, 2, 1)(2, 0, 1, 1)(2, 2, 1, 1)(5)(5).str()},
      {"hostile", Script()(kBook, 0)(0, 1, 1)(3, 1, 200)(4, 3)
                      .Number(0x2004001000000002, 8)(5)(3, 0)
                      .Number(~std::uint64_t{0}, 8)(5)
                      .str()},
      {"keys",
       Script()(kKeys)(1, 0, 0, 0, 1, 1)(1, 0, 0, 1, 1, 1)(1, 1, 2, 1, 0, 3)(1, 1, 2, 2, 0, 3)
           .str()},
      {"spoiled", Script()(kKeys)(1, 0, 0, 0, 1, 1)(0)
                      .Number(~std::uint64_t{0}, 8)
                      .Number(9, 2)(1, 0, 0, 1, 1, 1)
                      .str()},
  };
}

}  // namespace alertpipe::fuzz
