// SPDX-License-Identifier: Apache-2.0
//
// Once a conversation is warm, its alerts allocate nothing: neither who sends them, nor who
// receives them.
//
// This program has a malloc of its own, in front of that of the C library; operator new, libuv and
// the library come through it as well. A process counts its calls from one alert to another (Span):
// everything in between, turns of the loop included. Before that it warms up, and this as far as a
// conversation can go: the receivers are deaf until pipe and queue are as full as the sender lets
// them become, so that whatever grows with a queue has grown. What a test does within the span
// allocates nothing either. When a span is not as it should be, the failure tells where its first
// allocation came from.
#include <execinfo.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "family.h"

// ---- The malloc that counts ---------------------------------------------------------------------

namespace {

constexpr int kFramesMax = 24;

bool g_counting = false;
std::uint64_t g_calls = 0;
void* g_first[kFramesMax];  // the stack of the first call
int g_first_frames = 0;

[[maybe_unused]] void NoteCall() {
  if (!g_counting) return;
  if (++g_calls > 1) return;
  g_counting = false;
  g_first_frames = backtrace(g_first, kFramesMax);
  g_counting = true;
}

}  // namespace

// Sanitizers bring their own malloc, and other C libraries have no second name for theirs.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define ALERTPIPE_TEST_COUNTS_CALLS
#endif
#else
#define ALERTPIPE_TEST_COUNTS_CALLS
#endif
#endif

#ifdef ALERTPIPE_TEST_COUNTS_CALLS
extern "C" {

void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t number, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  NoteCall();
  return __libc_malloc(bytes);
}

void* calloc(std::size_t number, std::size_t bytes) noexcept {
  NoteCall();
  return __libc_calloc(number, bytes);
}

void* realloc(void* memory, std::size_t bytes) noexcept {
  NoteCall();
  return __libc_realloc(memory, bytes);
}

void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  NoteCall();
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  NoteCall();
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  NoteCall();
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
#endif

namespace alertpipe::process {
namespace {

constexpr bool CanCount() {
#ifdef ALERTPIPE_TEST_COUNTS_CALLS
  return true;
#else
  return false;
#endif
}

#define SKIP_UNLESS_COUNTED() \
  if (!CanCount()) GTEST_SKIP() << "malloc is not the C library's here"

// ---- Spans --------------------------------------------------------------------------------------

constexpr int kSlots = 5;

// What the processes found, by slot.
struct Book {
  Count stuck;  // senders that have filled everything
  Count ended[kSlots];
  Count calls[kSlots];
  Text first[kSlots];
};

// Counts the calls of this process after alert number `from` until alert number `to`.
class Span {
 public:
  Span(Book* book, int slot, std::uint64_t from, std::uint64_t to)
      : book_(book), slot_(slot), from_(from), to_(to) {
    void* frame = nullptr;
    backtrace(&frame, 1);  // its first call loads a library
  }

  void Pass(std::uint64_t number) {
    if (number == from_) Begin();
    if (number == to_) End();
  }

 private:
  static void Begin() {
    g_calls = 0;
    g_first_frames = 0;
    g_counting = true;
  }

  void End() {
    g_counting = false;
    book_->calls[slot_] = g_calls;
    if (g_calls > 0) book_->first[slot_].Set(FirstCall());
    book_->ended[slot_] = 1;
  }

  // The stack, without this file's own frame.
  static std::string FirstCall() {
    std::string text;
    char** names = backtrace_symbols(g_first, g_first_frames);
    for (int i = 1; names != nullptr && i < g_first_frames; ++i) {
      const std::string_view name = names[i];
      text.append("\n  ").append(name.substr(name.rfind('/') + 1));
    }
    std::free(names);
    return text;
  }

  Book* book_;
  int slot_;
  std::uint64_t from_;
  std::uint64_t to_;
};

// Waits until the slots' spans have ended.
::testing::AssertionResult Ended(Family* family, const Book& book, const std::vector<int>& slots) {
  const auto all_ended = [&] {
    for (const int slot : slots) {
      if (book.ended[slot] == 0) return false;
    }
    return true;
  };
  if (!family->Until(all_ended)) return ::testing::AssertionFailure() << "a span has not ended";
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult Called(const Book& book, int slot, std::uint64_t at_most) {
  if (book.calls[slot] <= at_most) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "worker " << slot << " allocated " << book.calls[slot]
                                       << " times; first at" << book.first[slot].Get();
}

// ---- Senders ------------------------------------------------------------------------------------

// A length of queue at which a sender waits.
constexpr std::size_t kQueueEnough = 65536;
constexpr int kTurnAlerts = 1000;

// Sends numbered alerts, in turns, and lets a queue become kQueueEnough long.
class Sender {
 public:
  // `send` sends one, and tells whether it is queued; `queued_bytes` is what waits in all.
  template <typename Send>
  Sender(Member* me, Book* book, Span* span, std::uint64_t count, Send send)
      : me_(*me), book_(book), span_(*span), count_(count), send_(std::move(send)) {
    me_->OnDrained([this](const Peer&) {
      if (!waiting_ || me_->QueuedBytes() > 0) return;
      waiting_ = false;
      Turn();
    });
    me_.Every(1, [this] { Turn(); });
  }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

 private:
  void Turn() {
    for (int i = 0; i < kTurnAlerts && !waiting_ && next_ <= count_; ++i) {
      const bool queued = send_(next_);
      span_.Pass(next_++);
      // The first time goes further than any other: it is the warm-up of the queue.
      const std::size_t enough = stuck_ ? kQueueEnough : 2 * kQueueEnough;
      waiting_ = queued && me_->QueuedBytes() > enough;
      if (waiting_ && !std::exchange(stuck_, true)) book_->stuck = 1;
    }
  }

  Member& me_;
  Book* book_;
  Span& span_;
  std::uint64_t count_;
  std::function<bool(std::uint64_t)> send_;
  std::uint64_t next_ = 1;
  bool waiting_ = false;
  bool stuck_ = false;  // it has waited before
};

// Data of an alert: its number, and as many bytes as it should have.
template <std::size_t kBytes>
class Data {
 public:
  std::string_view Of(std::uint64_t number) {
    std::memcpy(bytes_.data(), &number, sizeof number);
    return std::string_view(bytes_.data(), kBytes);
  }

 private:
  std::array<char, kBytes> bytes_{};
};

constexpr std::size_t kSmall = 10;
constexpr std::size_t kLarge = 10000;

// Pipe and queue have room for fewer alerts than a warm-up has.
constexpr std::uint64_t kWarmUp = 100000;
constexpr std::uint64_t kAlerts = 100000;

// Receives numbered alerts of so many bytes.
Member::Body Receiver(Book* book, std::size_t bytes, std::uint64_t from, std::uint64_t to) {
  return [=](Member& me) {
    Span span(book, me.slot(), from, to);
    std::uint64_t expected = 1;
    me->Receive("n", [&](Alert& alert) {
      const std::uint64_t number = NumberOf(alert.data());
      if (number != expected++ || alert.data().size() != bytes)
        me.Check(false, "not what was sent");
      span.Pass(number);
    });
    me.Run();
  };
}

// ---- Tests --------------------------------------------------------------------------------------

TEST(Allocations, AreCounted) {
  SKIP_UNLESS_COUNTED();
  Shared<Book> book;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    Span span(&*book, me.slot(), 1, 2);
    std::vector<void*> memory(7);
    span.Pass(1);
    memory[0] = std::malloc(1);
    memory[1] = std::calloc(1, 1);
    memory[2] = std::realloc(nullptr, 1);
    memory[3] = std::aligned_alloc(64, 64);
    if (posix_memalign(&memory[4], 64, 64) != 0) me.Check(false, "no memory");
    memory[5] = ::operator new(1);
    memory[6] = ::operator new(64, std::align_val_t(64));
    span.Pass(2);
    ::operator delete(memory[6], std::align_val_t(64));
    ::operator delete(memory[5]);
    for (int i = 0; i < 5; ++i) std::free(memory[static_cast<std::size_t>(i)]);
    me.Run();
  });
  ASSERT_TRUE(Ended(&family, *book, {1}));
  EXPECT_EQ(book->calls[1], 7u);
  EXPECT_NE(book->first[1].Get().find("process_allocations_test"), std::string::npos)
      << book->first[1].Get();
}

void Stream(const MasterOptions& options) {
  Shared<Book> book;
  Family family(options);
  const std::uint64_t last = kWarmUp + kAlerts;
  const Peer receiver = family.SpawnDeaf(Receiver(&*book, kSmall, kWarmUp, last));
  const Peer sender = family.Spawn([&](Member& me) {
    Span span(&*book, me.slot(), kWarmUp, last);
    Data<kSmall> data;
    const Sender sends(&me, &*book, &span, last, [&](std::uint64_t number) {
      const SendResult sent = me->Send(To::Slot(receiver.slot), "n", data.Of(number));
      if (!sent.ok()) me.Check(false, "refused");
      return sent.outcome() == Outcome::kQueued;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return book->stuck == 1; }));
  family.Wake(receiver);
  ASSERT_TRUE(Ended(&family, *book, {sender.slot, receiver.slot}));
  EXPECT_TRUE(Called(*book, sender.slot, 0));
  EXPECT_TRUE(Called(*book, receiver.slot, 0));
}

TEST(Allocations, NoneInAStream) {
  SKIP_UNLESS_COUNTED();
  Stream(FamilyOf(2));
}

// Most of it has to be queued.
TEST(Allocations, NoneInAStreamThroughASmallPipe) {
  SKIP_UNLESS_COUNTED();
  Stream(TightFamilyOf(2));
}

TEST(Allocations, NoneInAConversation) {
  SKIP_UNLESS_COUNTED();
  constexpr std::uint64_t kBefore = 1000;
  constexpr std::uint64_t kLast = kBefore + 2 * 10000;  // a round has two alerts
  Shared<Book> book;
  Family family(FamilyOf(2));
  for (int i = 0; i < 2; ++i) {
    family.Spawn([&](Member& me) {
      // Each handles every other one.
      const std::uint64_t first = me.slot() == 1 ? 1 : 0;
      Span span(&*book, me.slot(), kBefore + first, kLast + first);
      Data<kSmall> data;
      me->Receive("n", [&](Alert& alert) {
        const std::uint64_t number = NumberOf(alert.data());
        span.Pass(number);
        if (number > kLast) return;
        if (!alert.Reply("n", data.Of(number + 1)).ok()) me.Check(false, "refused");
      });
      me->Receive("begin", [&](Alert&) { me->Send(To::Slot(2), "n", data.Of(0)); });
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(1), "begin").ok());
  ASSERT_TRUE(Ended(&family, *book, {1, 2}));
  EXPECT_TRUE(Called(*book, 1, 0));
  EXPECT_TRUE(Called(*book, 2, 0));
}

TEST(Allocations, NoneInBroadcasts) {
  SKIP_UNLESS_COUNTED();
  constexpr std::size_t kReceivers = 3;
  Shared<Book> book;
  Family family(FamilyOf(kReceivers + 1));
  const std::uint64_t last = kWarmUp + kAlerts;
  std::vector<Peer> receivers;
  for (std::size_t i = 0; i < kReceivers; ++i)
    receivers.push_back(family.SpawnDeaf(Receiver(&*book, kSmall, kWarmUp, last)));
  const Peer sender = family.Spawn([&](Member& me) {
    Span span(&*book, me.slot(), kWarmUp, last);
    Data<kSmall> data;
    const Sender sends(&me, &*book, &span, last, [&](std::uint64_t number) {
      const BroadcastResult sent = me->Broadcast("n", data.Of(number), Scope::kOthers);
      if (sent.accepted != kReceivers) me.Check(false, "refused");
      // Those that are not full have only not been written to yet, and would not be told of.
      if (me->QueuedBytes() > kQueueEnough) me->Flush();
      return sent.written < sent.accepted;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return book->stuck == 1; }));
  for (const Peer& receiver : receivers) family.Wake(receiver);
  ASSERT_TRUE(Ended(&family, *book, {1, 2, 3, 4}));
  EXPECT_TRUE(Called(*book, sender.slot, 0));
  for (const Peer& receiver : receivers) EXPECT_TRUE(Called(*book, receiver.slot, 0));
}

// Data that is handed over needs memory, of which the program's own is one, and a record of who
// holds it.
TEST(Allocations, FewForDataThatIsHandedOver) {
  SKIP_UNLESS_COUNTED();
  constexpr std::uint64_t kBefore = 1000;
  constexpr std::uint64_t kCounted = 5000;
  constexpr std::uint64_t kLast = kBefore + kCounted;
  Shared<Book> book;
  Family family(FamilyOf(2));
  const Peer receiver = family.SpawnDeaf(Receiver(&*book, kLarge, kBefore, kLast));
  const Peer sender = family.Spawn([&](Member& me) {
    Span span(&*book, me.slot(), kBefore, kLast);
    Data<kLarge> data;
    const Sender sends(&me, &*book, &span, kLast, [&](std::uint64_t number) {
      const SendResult sent =
          me->Send(To::Slot(receiver.slot), "n", Buffer::Copy(data.Of(number)).value());
      if (!sent.ok()) me.Check(false, "refused");
      return sent.outcome() == Outcome::kQueued;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return book->stuck == 1; }));
  family.Wake(receiver);
  ASSERT_TRUE(Ended(&family, *book, {sender.slot, receiver.slot}));
  EXPECT_TRUE(Called(*book, sender.slot, 4 * kCounted));
  EXPECT_GT(book->calls[sender.slot], 0u);
  EXPECT_TRUE(Called(*book, receiver.slot, 0));
}

}  // namespace
}  // namespace alertpipe::process
