// SPDX-License-Identifier: Apache-2.0
//
// What is read from memory that others write. Three parts:
//   families  files that another process holds, as ReadFamilyStats finds them, with any names,
//             sizes, seals and contents. A naive reader that knows the layout by its offsets sees
//             the same. The kernel is played here: each file is a block of exactly its size, so
//             that AddressSanitizer sees what is read behind it.
//   words     roster words of any value, and any change of them, under an endpoint.
//   pages     any bytes in a counter page, who has claimed it included.
#include <alertpipe/family_stats.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "../core/heap_roster.h"
#include "core/endpoint.h"
#include "fuzz.h"
#include "naive_wire.h"
#include "os/calls.h"

namespace alertpipe::fuzz {

const char* const kTargetName = "shared_memory";
const std::vector<const char*> kCanaries = {
    "the number of slots is believed",
    "a state that does not exist is taken as it is",
    "counters are shown without a look at their tag",
    "whoever asks has claimed the slot",
};

namespace {

enum Defect : int { kTrustsSlots = 1, kTrustsState, kTrustsTag, kTrustsClaim };

// ---- Layout, by offsets

#define ALERTPIPE_COUNT_ONE(name) +1
constexpr std::size_t kCounters = 0 ALERTPIPE_STATS(ALERTPIPE_COUNT_ONE);
#undef ALERTPIPE_COUNT_ONE

constexpr std::size_t kInodeAt = 24;
constexpr std::size_t kSlotsAt = 32;
constexpr std::size_t kWordsAt = 128;
constexpr std::size_t kRosterBytesMin = 192;
constexpr std::size_t kPageBytes = 4096;
// In a page and in an archive.
constexpr std::size_t kTagAt = (kCounters + LatencyHistogram::kBuckets) * 8;
constexpr std::size_t kArchiveBytes = (kTagAt + 8 + 63) / 64 * 64;

// Words of 8 bytes, then successors of 4.
std::size_t ArchiveAt(std::size_t slots) { return (kRosterBytesMin + slots * 12 + 63) / 64 * 64; }

std::string MakeRoster(std::size_t slots, std::uint64_t inode) {
  std::string roster(ArchiveAt(slots) + slots * kArchiveBytes, '\0');
  const std::string label =
      NumberBytes(core::RosterLabel::kMagic, 8) + NumberBytes(core::RosterLabel::kVersion, 8) +
      NumberBytes(core::kCounterLayout, 8) + NumberBytes(inode, 8) + NumberBytes(slots, 4);
  roster.replace(0, label.size(), label);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const std::uint64_t word = (slot + 1) << 32 | (100 + slot) << 8 | 2;
    roster.replace(kWordsAt + slot * 8, 8, NumberBytes(word, 8));
    const std::size_t archive = ArchiveAt(slots) + slot * kArchiveBytes;
    roster.replace(archive, 8, NumberBytes(slot + 7, 8));
    roster.replace(archive + kTagAt, 4, NumberBytes(slot, 4));
  }
  return roster;
}

std::string MakePages(std::size_t slots) {
  std::string pages(slots * kPageBytes, '\0');
  for (std::size_t slot = 0; slot < slots; ++slot) {
    pages.replace(slot * kPageBytes, 8, NumberBytes(slot + 1000, 8));
    pages.replace(slot * kPageBytes + kTagAt, 4, NumberBytes(slot + 1, 4));
  }
  return pages;
}

// ---- The kernel, as far as the reader asks it

struct File {
  std::string link;  // what readlink says
  std::uint64_t inode = 0;
  int seals = 0;
  bool opens = true;
  std::string contents;
};

class FakeKernel {
 public:
  explicit FakeKernel(std::vector<File> files) : real_(os::calls()) {
    files_ = std::move(files);
    listed_ = false;
    os::Calls& calls = os::calls();
    calls.open = [](const char* path, int) { return Open(path); };
    calls.close = [](int) { return 0; };
    calls.getdents64 = [](int, void* data, std::size_t bytes) { return List(data, bytes); };
    calls.readlink = [](const char* path, char* target, std::size_t bytes) {
      const std::string& link = files_[NumberOf(path)].link;
      const std::size_t copied = std::min(bytes, link.size());
      std::memcpy(target, link.data(), copied);
      return static_cast<ssize_t>(copied);
    };
    calls.fcntl = [](int fd, int, int) { return At(fd).seals; };
    calls.fstat = [](int fd, struct stat* file) {
      file->st_size = static_cast<off_t>(At(fd).contents.size());
      file->st_ino = At(fd).inode;
      return 0;
    };
    calls.mmap = [](void*, std::size_t bytes, int, int, int fd, off_t) -> void* {
      void* block = nullptr;
      if (::posix_memalign(&block, kPageBytes, bytes) != 0) return MAP_FAILED;
      std::memcpy(block, At(fd).contents.data(), bytes);
      return block;
    };
    calls.munmap = [](void* block, std::size_t) {
      std::free(block);
      return 0;
    };
  }
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;
  ~FakeKernel() {
    os::calls() = real_;
    files_.clear();
  }

 private:
  static constexpr int kFirstFd = 1000;
  static File& At(int fd) { return files_[static_cast<std::size_t>(fd - kFirstFd)]; }
  // The part behind the last slash; the folder itself is opened once.
  static std::size_t NumberOf(const char* path) {
    return static_cast<std::size_t>(std::atoi(std::strrchr(path, '/') + 1));
  }
  static int Open(const char* path) {
    const std::string name = std::strrchr(path, '/') + 1;
    if (name == "fd") return kFirstFd - 1;
    if (files_[NumberOf(path)].opens) return kFirstFd + static_cast<int>(NumberOf(path));
    errno = EACCES;
    return -1;
  }
  static ssize_t List(void* data, std::size_t bytes) {
    if (std::exchange(listed_, true)) return 0;
    std::string entries;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      std::string name = std::to_string(i);
      name.resize(5, '\0');
      entries += NumberBytes(i, 16) + NumberBytes(24, 2) + NumberBytes(0, 1) + name;
    }
    Require(entries.size() <= bytes, "too many files");
    std::memcpy(data, entries.data(), entries.size());
    return static_cast<ssize_t>(entries.size());
  }

  const os::Calls real_;
  inline static std::vector<File> files_;
  inline static bool listed_ = false;
};

// ---- The naive reader

struct NaiveIncarnation {
  bool there = false;
  std::uint64_t generation = 0;
  std::uint64_t pid = 0;
  std::string counters;
};

struct NaiveSlotStats {
  std::uint64_t state = 0;
  NaiveIncarnation live;
  NaiveIncarnation last;
};

enum class Form { kGood, kUnfinished, kForeign };

std::uint64_t StateOf(std::uint64_t word) {
  const std::uint64_t state = word & 0xff;
  return state > 4 && planted != kTrustsState ? 4 : state;
}

Form FormOf(const std::string& roster, const std::vector<const File*>& files,
            const std::string** pages) {
  if (roster.size() < kRosterBytesMin) return Form::kForeign;
  if (NumberAt(roster, 0, 8) == 0) return Form::kUnfinished;
  if (NumberAt(roster, 0, 8) != core::RosterLabel::kMagic ||
      NumberAt(roster, 8, 8) != core::RosterLabel::kVersion ||
      NumberAt(roster, 16, 8) != core::kCounterLayout)
    return Form::kForeign;
  *pages = nullptr;
  for (const File* file : files) {
    if (file->inode == NumberAt(roster, kInodeAt, 8)) *pages = &file->contents;
  }
  if (*pages == nullptr) return Form::kUnfinished;
  const std::uint64_t slots = NumberAt(roster, kSlotsAt, 4);
  if (planted == kTrustsSlots && slots > 0 && slots <= 4097) return Form::kGood;
  if (slots == 0 || slots > 4097 || roster.size() < ArchiveAt(slots) + slots * kArchiveBytes ||
      (*pages)->size() < slots * kPageBytes)
    return Form::kForeign;
  return Form::kGood;
}

std::vector<NaiveSlotStats> ReadNaively(const std::string& roster, const std::string& pages) {
  const std::uint64_t slots = NumberAt(roster, kSlotsAt, 4);
  std::vector<NaiveSlotStats> read;
  // A planted defect ends here at the latest.
  Require(roster.size() >= ArchiveAt(slots) + slots * kArchiveBytes &&
              pages.size() >= slots * kPageBytes,
          "read behind the end");
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const std::uint64_t word = NumberAt(roster, kWordsAt + slot * 8, 8);
    NaiveSlotStats stats;
    stats.state = StateOf(word);
    const std::uint64_t generation = word >> 32;
    const bool lives = stats.state >= 1 && stats.state <= 3;
    const std::string_view page = std::string_view(pages).substr(slot * kPageBytes, kPageBytes);
    const bool tagged = NumberAt(page, kTagAt, 4) == generation || planted == kTrustsTag;
    if (generation != 0 && (lives || slot == 0) && tagged)
      stats.live = {true, generation, word >> 8 & 0xffffff, std::string(page.substr(0, kTagAt))};
    const std::string archive = roster.substr(ArchiveAt(slots) + slot * kArchiveBytes, kTagAt + 8);
    if (NumberAt(archive, kTagAt, 4) != 0) {
      stats.last = {true, NumberAt(archive, kTagAt, 4), NumberAt(archive, kTagAt + 4, 4),
                    archive.substr(0, kTagAt)};
    }
    read.push_back(stats);
  }
  return read;
}

std::string CountersOf(const Stats& stats) {
  std::string bytes;
#define ALERTPIPE_ADD_BYTES(name) bytes += NumberBytes(stats.name, 8);
  ALERTPIPE_STATS(ALERTPIPE_ADD_BYTES)
#undef ALERTPIPE_ADD_BYTES
  for (const std::uint64_t count : stats.latency.counts) bytes += NumberBytes(count, 8);
  return bytes;
}

void Compare(const std::optional<IncarnationStats>& seen, const NaiveIncarnation& expected,
             std::size_t slot) {
  RequireEqual(seen.has_value(), expected.there, "whether there are figures");
  if (!seen) return;
  RequireEqual(seen->peer.slot, static_cast<int>(slot), "slot");
  RequireEqual(seen->peer.generation, expected.generation, "generation");
  RequireEqual(static_cast<std::uint32_t>(seen->peer.pid), expected.pid, "pid");
  Require(CountersOf(seen->stats) == expected.counters, "the counters differ");
}

void Compare(const FamilyStats& seen, const std::vector<NaiveSlotStats>& expected) {
  RequireEqual(seen.slots.size(), expected.size(), "slots");
  for (std::size_t slot = 0; slot < expected.size(); ++slot) {
    RequireEqual(seen.slots[slot].slot, static_cast<int>(slot), "slot");
    RequireEqual(static_cast<std::uint64_t>(seen.slots[slot].state), expected[slot].state, "state");
    Require(ToString(seen.slots[slot].state) != "unknown", "a state without a name");
    Compare(seen.slots[slot].live, expected[slot].live, slot);
    Compare(seen.slots[slot].last, expected[slot].last, slot);
  }
}

// ---- Families

std::string MakeName(Input* input) {
  const char* const names[] = {"/memfd:alertpipe-roster (deleted)",
                               "/memfd:alertpipe-counters (deleted)",
                               "/memfd:alertpipe- (deleted)",
                               "/memfd:other (deleted)",
                               "/memfd:alertpipe-roster",
                               "alertpipe-roster (deleted)",
                               "socket:[1]",
                               ""};
  const std::size_t choice = input->Byte();
  if (choice < std::size(names)) return names[choice];
  return "/memfd:" + std::string(input->Bytes(choice)) + " (deleted)";
}

File MakeFile(Input* input) {
  File file;
  file.link = MakeName(input);
  file.inode = input->Pick(4);
  const std::uint8_t flags = input->Byte();
  file.seals = (flags & 1) != 0 ? 0 : F_SEAL_SHRINK;
  if ((flags & 2) != 0) file.seals = -1;
  file.opens = (flags & 4) == 0;
  const std::size_t slots = 1 + input->Pick(3);
  const std::size_t kind = input->Pick(3);
  if (kind == 0) file.contents = MakeRoster(slots, input->Pick(4));
  if (kind == 1) file.contents = MakePages(slots);
  if (kind == 2) file.contents = input->Bytes(input->Number(2));
  // Longer or shorter, then other bytes here and there.
  if ((flags & 8) != 0) file.contents.resize(input->Number(2) % 20000);
  for (std::size_t i = (flags & 16) != 0 ? input->Pick(16) : 0; i > 0; --i) {
    const std::size_t at = input->Number(2);
    const std::string bytes = NumberBytes(input->Number(8), 1 + input->Pick(8));
    if (at < file.contents.size())
      file.contents.replace(at, std::min(bytes.size(), file.contents.size() - at), bytes, 0,
                            std::min(bytes.size(), file.contents.size() - at));
  }
  return file;
}

void ReadFamilies(Input* input) {
  std::vector<File> files;
  for (std::size_t i = 1 + input->Pick(4); i > 0; --i) files.push_back(MakeFile(input));
  absl::StatusOr<std::vector<FamilyStats>> seen = absl::UnknownError("not asked");
  // Those that can be read safely, each once.
  std::vector<const File*> good;
  for (const File& file : files) {
    const bool known = std::any_of(good.begin(), good.end(),
                                   [&](const File* other) { return other->inode == file.inode; });
    const bool named = file.link.substr(0, 17) == "/memfd:alertpipe-" &&
                       file.link.size() >= 17 + 10 &&
                       file.link.substr(file.link.size() - 10) == " (deleted)";
    if (named && file.opens && file.seals >= 0 && (file.seals & F_SEAL_SHRINK) != 0 &&
        !file.contents.empty() && !known)
      good.push_back(&file);
  }
  {
    const FakeKernel kernel(files);
    seen = ReadFamilyStats(123);
  }
  std::vector<std::vector<NaiveSlotStats>> expected;
  bool foreign = false;
  for (const File* file : good) {
    if (file->link != "/memfd:alertpipe-roster (deleted)") continue;
    const std::string* pages = nullptr;
    const Form form = FormOf(file->contents, good, &pages);
    foreign = foreign || form == Form::kForeign;
    if (form == Form::kGood) expected.push_back(ReadNaively(file->contents, *pages));
  }
  if (expected.empty()) {
    Require(foreign ? absl::IsFailedPrecondition(seen.status()) : absl::IsNotFound(seen.status()),
            "another error");
    return;
  }
  Require(seen.ok(), "an error");
  RequireEqual(seen->size(), expected.size(), "families");
  for (std::size_t i = 0; i < expected.size(); ++i) Compare((*seen)[i], expected[i]);
}

// ---- Words

class Words {
 public:
  explicit Words(Input* input)
      : input_(input),
        roster_(core::GenerousSettings(kSlots)),
        page_(std::make_unique<core::CounterPage>()),
        endpoint_(roster_.roster(), {101, 1, 1}, page_.get(), nullptr) {
    Require(endpoint_.inbox().Allocate(), "no memory");
  }

  void Go() {
    while (!input_->empty()) {
      const int slot = static_cast<int>(input_->Pick(kSlots));
      const std::uint64_t packed = input_->Flag() ? input_->Number(8) : Likely();
      Unpack(packed);
      roster_.Publish(slot, core::RosterWord::Unpack(packed));
      Scribble();
      Ask(slot);
      Send(slot);
      if (input_->Flag()) Write(static_cast<int>(input_->Pick(kSlots)));
      if (input_->Flag()) endpoint_.PeerDied(slot, roster_.roster().Get(slot).generation);
    }
    endpoint_.FailAll(UndeliveredReason::kClosed);
    core::Event event;
    while (endpoint_.NextEvent(&event))
      if (event.kind == core::Event::Kind::kUndelivered) ++given_back_;
    RequireEqual(endpoint_.meter().queued_bytes(), 0u, "queued bytes at rest");
    RequireEqual(written_ + given_back_, accepted_, "accepted");
  }

 private:
  static constexpr int kSlots = 4;

  // A generation of a few, a pid of a few, a state that exists.
  std::uint64_t Likely() {
    return std::uint64_t{input_->Pick(4)} << 32 | input_->Pick(4) << 8 | input_->Pick(6);
  }

  static void Unpack(std::uint64_t packed) {
    const core::RosterWord word = core::RosterWord::Unpack(packed);
    RequireEqual(word.generation, packed >> 32, "generation");
    RequireEqual(word.pid, packed >> 8 & 0xffffff, "pid");
    RequireEqual(static_cast<std::uint64_t>(word.state), StateOf(packed), "state");
    Require(core::RosterWord::Unpack(word.Pack()) == word, "a word is not the same again");
    if ((packed & 0xff) <= 4) RequireEqual(word.Pack(), packed, "word");
    Require(!word.takes_alerts() || word.lives(), "the dead take alerts");
  }

  // The worker's own page holds figures for others; the protocol never looks at it.
  void Scribble() {
    const std::size_t at = input_->Number(2) % (kPageBytes - 8);
    const std::string bytes = NumberBytes(input_->Number(8), 8);
    std::memcpy(reinterpret_cast<char*>(page_.get()) + at, bytes.data(), bytes.size());
  }

  void Ask(int slot) {
    std::vector<Peer> live;
    endpoint_.Live(&live);
    std::vector<core::Target> targets;
    endpoint_.Select(Scope::kFamily, &targets);
    Require(endpoint_.CountUp() <= static_cast<int>(live.size()), "more are up than live");
    for (const core::Target& target : targets)
      Require(target.word.takes_alerts(), "selected, and takes no alerts");
    core::Target target;
    const absl::Status any = endpoint_.Resolve(To::AnyWorker(), &target);
    if (any.ok()) Require(target.slot > 0 && target.slot != 1 && target.slot < kSlots, "any");
    const absl::Status pid =
        endpoint_.Resolve(To::Pid(static_cast<pid_t>(input_->Pick(4))), &target);
    if (pid.ok()) Require(target.word.takes_alerts(), "found by pid, and takes no alerts");
    Require(!endpoint_.Resolve(To::Slot(kSlots + slot), &target).ok(), "there is no such slot");
  }

  void Send(int slot) {
    core::Target target;
    if (!endpoint_.Resolve(To::Slot(slot), &target).ok()) return;
    if (input_->Flag())
      roster_.Publish(slot, core::RosterWord::Unpack(input_->Flag() ? Likely() : 0));
    const core::Admission admission =
        endpoint_.Accept(target, core::Content{"name", "data"}, nullptr, false, true);
    if (admission.status.ok()) ++accepted_;
  }

  void Write(int slot) {
    iovec parts[core::Outbox::kPartsMax];
    while (const int count = endpoint_.NextWrite(slot, parts, false)) {
      const std::string_view bytes(static_cast<const char*>(parts[0].iov_base), parts[0].iov_len);
      NaiveHeader header;
      Require(count == 1 && ReadHeader(bytes, &header) == Looks::kPacket, "no packet");
      const core::RosterWord word = roster_.roster().Get(slot);
      Require(word.lives() && word.generation == header.destination_generation,
              "written for somebody else");
      std::string_view body = bytes.substr(32);
      NaiveRecord record;
      for (; !IsPadding(body); body.remove_prefix(record.size)) {
        Require(ReadRecord(body, &record), "no record");
        ++written_;
      }
      endpoint_.Wrote(slot, bytes.size());
    }
  }

  Input* input_;
  core::HeapRoster roster_;
  std::unique_ptr<core::CounterPage> page_;
  core::Endpoint endpoint_;
  std::uint64_t accepted_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t given_back_ = 0;
};

// ---- Pages

void ReadPage(Input* input) {
  const auto page = std::make_unique<core::CounterPage>();
  const std::string bytes(input->Bytes(input->Number(2)));
  std::memcpy(reinterpret_cast<char*>(page.get()), bytes.data(),
              std::min(bytes.size(), sizeof *page));
  const std::string_view image(reinterpret_cast<const char*>(page.get()), sizeof *page);
  Require(CountersOf(page->Snapshot()) == image.substr(0, kTagAt), "the counters differ");
  const std::uint64_t claim = input->Number(8);
  std::memcpy(reinterpret_cast<char*>(&page->claim), &claim, sizeof claim);
  const auto generation =
      static_cast<std::uint32_t>(input->Flag() ? claim >> 32 : input->Number(4));
  const auto pid = static_cast<std::uint32_t>(input->Number(4));
  const bool right = claim >> 32 == generation;
  const std::uint32_t before = right ? static_cast<std::uint32_t>(claim) : core::Claim::kWithdrawn;
  const std::uint32_t after =
      (right && before == core::Claim::kNobody) || planted == kTrustsClaim ? pid : before;
  RequireEqual(page->claim.holder(generation), before, "holder");
  RequireEqual(page->claim.Take(generation, pid), after, "who has it");
  RequireEqual(page->claim.Take(generation, pid + 1), after == 0 ? pid + 1 : after, "still");
}

enum Part : std::uint8_t { kFamilies, kWords, kPages, kParts };

}  // namespace

void RunOne(std::string_view bytes) {
  Input input(bytes);
  switch (static_cast<Part>(input.Pick(kParts))) {
    case kFamilies:
      return ReadFamilies(&input);
    case kWords:
      return Words(&input).Go();
    case kPages:
      return ReadPage(&input);
    case kParts:
      return;
  }
}

// A file is: name, inode, flags, slots less 1, kind, and what its kind and its flags take.
std::vector<Seed> Seeds() {
  std::vector<Seed> seeds;
  const auto add = [&seeds](const char* name, const Script& script) {
    seeds.push_back({name, script.str()});
  };
  Script good;
  good(kFamilies, 1)(0, 1, 0, 2, 0, 2)(1, 2, 0, 2, 1);
  add("good_family", good);
  Script two;
  two(kFamilies, 3)(0, 1, 0, 0, 0, 2)(1, 2, 0, 0, 1)(0, 3, 0, 1, 0, 0)(1, 0, 0, 1, 1);
  add("two_families", two);
  Script alone;
  alone(kFamilies, 0)(0, 1, 0, 2, 0, 2);
  add("no_counters", alone);
  Script patched;
  patched(kFamilies, 1)(0, 1, 16, 2, 0, 2)(3);
  patched.Number(kWordsAt + 8, 2).Number(9, 8)(0);   // a state that does not exist
  patched.Number(kWordsAt + 16, 2).Number(4, 8)(0);  // down
  patched.Number(ArchiveAt(3) + kTagAt, 2).Number(3, 8)(3);
  patched(1, 2, 16, 2, 1)(1).Number(2 * kPageBytes + kTagAt, 2).Number(7, 8)(3);
  add("patched", patched);
  Script tag;
  tag(kFamilies, 1)(0, 1, 0, 2, 0, 2);
  tag(1, 2, 16, 2, 1)(1).Number(kPageBytes + kTagAt, 2).Number(7, 8)(3);
  add("tag_of_another", tag);
  Script cut;
  cut(kFamilies, 1)(0, 1, 8, 2, 0, 2).Number(800, 2)(1, 2, 0, 2, 1);
  add("cut_short", cut);
  Script slots;
  slots(kFamilies, 1)(0, 1, 16, 2, 0, 2)(1).Number(kSlotsAt, 2).Number(5, 8)(3)(1, 2, 0, 2, 1);
  add("more_slots", slots);
  Script odd;
  odd(kFamilies, 3)(4, 1, 1, 0, 0, 2)(3, 2, 2, 0, 1)(0, 3, 4, 1, 2, 1, 0, 'x')(20, 0, 0);
  add("odd_files", odd);
  Script words;
  words(kWords);
  for (int slot = 0; slot < 4; ++slot)
    words(slot, 0, 1, slot, 2).Number(0, 2).Number(7, 8)(1)(0)(slot & 1, slot)(0);
  words(2, 1).Number(0x1122334455667788, 8).Number(9, 2).Number(1, 8)(2)(1, 0)(0, 0);
  add("words", words);
  Script page;
  page(kPages).Number(8, 2).Text("counters").Number(0x500000000, 8)(1).Number(77, 4);
  add("page", page);
  Script taken;
  taken(kPages).Number(0, 2).Number(0x500000063, 8)(1).Number(77, 4);
  add("claimed_page", taken);
  return seeds;
}

}  // namespace alertpipe::fuzz
