// SPDX-License-Identifier: Apache-2.0
//
// What a family needs from the system, refused: each call that Master::Create makes fails in turn,
// descriptors run out, forks fail. Either the caller is told which call it was, or the family works
// without it; nothing stays behind.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "../os/support.h"
#include "family.h"
#include "runner/holdings.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;
using os::Calls;
using os::Fault;

// ---- Each call of Create ------------------------------------------------------------------------

// Sends one alert to itself and runs one worker to its end.
::testing::AssertionResult Works(Master* master) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  bool heard = false;
  bool exited = false;
  bool closed = false;
  const absl::Status attached = master->Attach(&loop);
  if (!attached.ok()) return ::testing::AssertionFailure() << attached;
  master->Receive("self", [&](Alert& alert) { heard = alert.data() == std::string(9000, 's'); });
  master->OnExit([&](const WorkerExit& exit) { exited = exit.known && exit.exit_code == 5; });
  const absl::StatusOr<Peer> worker = master->Spawn([](Slot) { return 5; });
  const SendResult sent = master->Send(To::Master(), "self", std::string(9000, 's'));
  uv_timer_t tick;  // so that the liveness limit is looked at
  uv_timer_init(&loop, &tick);
  uv_timer_start(
      &tick, [](uv_timer_t*) {}, 2, 2);
  const auto until = [&](const bool& done) {
    return Eventually([&] {
      if (!done) uv_run(&loop, UV_RUN_NOWAIT);
      return done;
    });
  };
  const bool all = until(heard) && (!worker.ok() || until(exited));
  const Result closing =
      master->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; });
  const bool ended = closing.ok() && until(closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&tick), nullptr);
  uv_run(&loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop) != 0 || !all || !ended || !worker.ok()) {
    return ::testing::AssertionFailure()
           << "worker " << worker.status() << ", sent " << sent.status() << ", heard " << heard
           << ", exited " << exited << ", closed " << closed;
  }
  return ::testing::AssertionSuccess();
}

// What became of the calls of one function, each of which failed once.
struct Outcomes {
  int refused = 0;  // Create told of it
  int done_without = 0;
  std::set<StatusCode> codes;
  std::string messages;

  bool Names(std::string_view text) const { return messages.find(text) != std::string::npos; }
};

// Whether Create under a fault leaves everything as it was. The second and third time count: the
// first may fill a cache.
template <auto kMember>
bool LeaksHeap(int nth, int error) {
  for (int run = 0; run < 3; ++run) {
    const std::int64_t heap = runner::HeapBytes();
    {
      const os::NoLeaks no_leaks;
      const Fault<kMember> fault(nth, error);
      (void)Master::Create(FamilyOf(3));
    }
    if (!runner::IsHeapMeasurable() || runner::HeapBytes() <= heap) return false;
  }
  return true;
}

template <auto kMember>
Outcomes FailEachCall(int error) {
  Outcomes outcomes;
  for (int nth = 1; nth < 1000; ++nth) {
    EXPECT_FALSE(LeaksHeap<kMember>(nth, error)) << "call " << nth << ", errno " << error;
    std::unique_ptr<Master> master;
    {
      const Fault<kMember> fault(nth, error);
      absl::StatusOr<std::unique_ptr<Master>> created = Master::Create(FamilyOf(3));
      if (created.ok()) {
        if (!fault.fired()) return outcomes;
        master = *std::move(created);
      } else {
        ++outcomes.refused;
        outcomes.codes.insert(created.status().code());
        outcomes.messages += std::string(created.status().message()) + "\n";
      }
    }
    if (master != nullptr) {
      ++outcomes.done_without;
      EXPECT_TRUE(Works(master.get())) << "without call " << nth << ", errno " << error;
    }
  }
  ADD_FAILURE() << "more than 1000 calls";
  return outcomes;
}

using Codes = std::set<StatusCode>;

TEST(Creation, APipeThatFailsIsNamedAndTheOthersAreClosed) {
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    const Outcomes pipes = FailEachCall<&Calls::pipe2>(error);
    EXPECT_GE(pipes.refused, 5);  // one to measure with, four slots
    EXPECT_EQ(pipes.done_without, 0);
    EXPECT_EQ(pipes.codes, Codes{StatusCode::kResourceExhausted});
    for (int slot = 0; slot <= 3; ++slot) {
      EXPECT_TRUE(pipes.Names("pipe of slot " + std::to_string(slot) + ": pipe2: "))
          << pipes.messages;
    }
    EXPECT_TRUE(pipes.Names("errno " + std::to_string(error))) << pipes.messages;
  }
}

// F_SETPIPE_SZ may be refused with EPERM, what cannot be sealed any more is still read-only.
TEST(Creation, EachFcntlThatFailsIsToldOrHarmless) {
  const Outcomes denied = FailEachCall<&Calls::fcntl>(EPERM);
  EXPECT_GE(denied.done_without, 5) << "four capacities, a seal";
  EXPECT_TRUE(denied.Names("F_GETPIPE_SZ")) << denied.messages;
  EXPECT_TRUE(denied.Names("alertpipe-counters")) << denied.messages;
  const Outcomes other = FailEachCall<&Calls::fcntl>(EINVAL);
  EXPECT_TRUE(other.Names("F_SETPIPE_SZ, " + std::to_string(FamilyOf(3).pipe_capacity)))
      << other.messages;
  for (int fd = 0; fd <= 2; ++fd)
    EXPECT_TRUE(other.Names("descriptor " + std::to_string(fd))) << other.messages;
}

TEST(Creation, MemoryThatCannotBeSharedIsNamed) {
  const auto both = [](const Outcomes& outcomes, StatusCode code) {
    EXPECT_EQ(outcomes.done_without, 0);
    EXPECT_EQ(outcomes.codes, Codes{code});
    EXPECT_TRUE(outcomes.Names("alertpipe-roster")) << outcomes.messages;
    EXPECT_TRUE(outcomes.Names("alertpipe-counters")) << outcomes.messages;
  };
  both(FailEachCall<&Calls::memfd_create>(EMFILE), StatusCode::kResourceExhausted);
  both(FailEachCall<&Calls::memfd_create>(ENFILE), StatusCode::kResourceExhausted);
  both(FailEachCall<&Calls::memfd_create>(ENOMEM), StatusCode::kResourceExhausted);
  both(FailEachCall<&Calls::memfd_create>(ENOSYS), StatusCode::kUnimplemented);
  both(FailEachCall<&Calls::ftruncate>(ENOSPC), StatusCode::kResourceExhausted);
  EXPECT_EQ(FailEachCall<&Calls::memfd_create>(EINVAL).refused, 0) << "as older kernels do";
}

TEST(Creation, MappingsThatFailAreNamed) {
  const Outcomes maps = FailEachCall<&Calls::mmap>(ENOMEM);
  EXPECT_GE(maps.refused, 4) << "two of the roster, the counters, the fork guard";
  EXPECT_EQ(maps.codes, Codes{StatusCode::kResourceExhausted});
  EXPECT_TRUE(maps.Names("alertpipe-roster")) << maps.messages;
  EXPECT_TRUE(maps.Names("alertpipe-counters")) << maps.messages;
  EXPECT_TRUE(maps.Names("alertpipe-fork-guard")) << maps.messages;
  const Outcomes advice = FailEachCall<&Calls::madvise>(EINVAL);
  EXPECT_EQ(advice.refused, 1);
  EXPECT_TRUE(advice.Names("\"alertpipe-roster\", MADV_DONTFORK")) << advice.messages;
}

TEST(Creation, WatchesThatFailAreNamed) {
  const Outcomes epoll = FailEachCall<&Calls::epoll_create1>(EMFILE);
  EXPECT_EQ(epoll.refused, 1);
  EXPECT_TRUE(epoll.Names("epoll_create1: ")) << epoll.messages;
  const Outcomes event = FailEachCall<&Calls::eventfd>(EMFILE);
  EXPECT_EQ(event.refused, 1);
  EXPECT_TRUE(event.Names("eventfd for ")) << event.messages;
  const Outcomes pidfd = FailEachCall<&Calls::pidfd_open>(EMFILE);
  EXPECT_GE(pidfd.refused, 1);
  EXPECT_EQ(pidfd.codes, Codes{StatusCode::kResourceExhausted});
  EXPECT_TRUE(pidfd.Names("pidfd_open(" + std::to_string(getpid()) + ")")) << pidfd.messages;
}

TEST(Creation, TheRestCanBeDoneWithout) {
  const auto none = [](const char* what, const Outcomes& outcomes) {
    EXPECT_EQ(outcomes.refused, 0) << what << ": " << outcomes.messages;
    EXPECT_GT(outcomes.done_without, 0) << what << " is never called";
  };
  none("preadv2", FailEachCall<&Calls::preadv2>(EOPNOTSUPP));
  none("pwritev2", FailEachCall<&Calls::pwritev2>(EOPNOTSUPP));
  none("pidfd_open", FailEachCall<&Calls::pidfd_open>(ENOSYS));
  none("poll", FailEachCall<&Calls::poll>(ENOMEM));
  none("open", FailEachCall<&Calls::open>(ENOENT));
  none("getdents64", FailEachCall<&Calls::getdents64>(EIO));
  none("getrlimit", FailEachCall<&Calls::getrlimit>(EPERM));
}

TEST(Creation, ASystemWithSmallerPipeWritesIsRefused) {
  const Fault<&Calls::pathconf> fault(os::kEvery, EINVAL);
  EXPECT_TRUE(
      Says(Master::Create(FamilyOf(3)).status(), StatusCode::kUnimplemented, {"512", "4096"}));
}

// ---- Too many slots -----------------------------------------------------------------------------

TEST(Creation, BeyondRlimitNofileNothingIsCreated) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 60;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const std::set<int> all = os::OpenDescriptors();
  const auto open = static_cast<std::size_t>(std::distance(all.begin(), all.lower_bound(60)));
  {
    const os::NoLeaks no_leaks;
    const Fault<&Calls::pipe2> pipes;
    const Fault<&Calls::memfd_create> memory;
    const Fault<&Calls::mmap> mappings;
    const Fault<&Calls::eventfd> events;
    const Fault<&Calls::epoll_create1> epolls;
    // Two descriptors for each pipe and one for each pidfd, and eight others.
    EXPECT_TRUE(Says(Master::Create(FamilyOf(100)).status(), StatusCode::kResourceExhausted,
                     {"RLIMIT_NOFILE", "allows 60", std::to_string(open) + " are open",
                      std::to_string(3 * 101 + 8) + " more are needed"}));
    EXPECT_EQ(pipes.count() + memory.count() + mappings.count() + events.count() + epolls.count(),
              0);
  }
  const int fits = static_cast<int>(60 - 8 - open) / 3 - 1;
  EXPECT_TRUE(Master::Create(FamilyOf(fits)).ok()) << fits << " workers fit";
  EXPECT_FALSE(Master::Create(FamilyOf(fits + 1)).ok());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(Creation, AsManySlotsAsThereCanBe) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  constexpr rlim_t kNeeded = 3 * (kWorkersMax + 1) + 100;
  rlimit many = before;
  many.rlim_cur = std::max(before.rlim_cur, kNeeded);
  if (before.rlim_max < kNeeded || setrlimit(RLIMIT_NOFILE, &many) != 0) {
    GTEST_SKIP() << "needs " << kNeeded << " descriptors, RLIMIT_NOFILE allows at most "
                 << before.rlim_max;
  }
  {
    Shared<Count> heard;
    Family family(TightFamilyOf(kWorkersMax));
    EXPECT_EQ(family.pipes().size(), std::size_t{kWorkersMax} + 1);
    family.Spawn([&](Member& me) {
      me->ReceiveDefault([&](Alert&) { ++*heard; });
      me.Run();
    });
    ASSERT_TRUE(family.Ready());
    EXPECT_TRUE(family->Send(To::Slot(1), "x").ok());
    EXPECT_TRUE(Says(family->Send(To::Slot(kWorkersMax), "x").status(), StatusCode::kUnavailable,
                     {"4096"}));
    EXPECT_TRUE(Says(family->Send(To::Slot(kWorkersMax + 1), "x").status(), StatusCode::kNotFound,
                     {"4097"}));
    EXPECT_TRUE(family.Until([&] { return *heard == 1; }));
  }
  setrlimit(RLIMIT_NOFILE, &before);
}

// ---- Forks that fail ----------------------------------------------------------------------------

struct Heard {
  Count alerts[4];
  Count joined;
  Count left;
};

Member::Body Listener(Heard* heard) {
  return [heard](Member& me) {
    const int slot = me.slot();
    me->ReceiveDefault([heard, slot](Alert&) { ++heard->alerts[slot]; });
    if (slot == 2) {
      me->OnJoined([heard](const Peer& peer) { heard->joined += peer.slot == 1; });
      me->OnLeft([heard](const Peer& peer) { heard->left += peer.slot == 1; });
    }
    me.Run();
  };
}

// A slot whose fork failed is free again, its generation is spent, and nobody else notices.
void CheckFailedForks(MasterIs master) {
  Shared<Heard> heard;
  Family family(FamilyOf(3), master);
  for (int slot = 1; slot <= 3; ++slot) family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(family.live[1]));
  const int errors[] = {EAGAIN, ENOMEM, ENOSYS};
  for (const int error : errors) {
    const os::NoLeaks no_leaks;
    const Fault<&Calls::fork> fault(1, error);
    EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kResourceExhausted,
                     {"slot 1", std::strerror(error)}));
    EXPECT_TRUE(fault.fired());
  }
  EXPECT_EQ(family->Workers().size(), 2u);
  if (master == MasterIs::kAttached) {
    EXPECT_TRUE(
        Says(family->Send(To::Slot(1), "x").status(), StatusCode::kUnavailable, {"slot 1"}));
    EXPECT_EQ(family->Broadcast("x").accepted, 2u);
    ASSERT_TRUE(family.Until([&] { return heard->alerts[2] == 1 && heard->alerts[3] == 1; }));
  }
  const Peer successor = family.Respawn(1);
  EXPECT_EQ(successor.slot, 1);
  EXPECT_EQ(successor.generation, 5u) << "three forks failed";
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Until([&] { return heard->joined == 1 && heard->left >= 1; }));
  if (master == MasterIs::kAttached) {
    const SendResult sent = family->Send(successor, "x");
    EXPECT_TRUE(sent.ok()) << sent.status();
    ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
  }
  EXPECT_EQ(family.exits.size(), 1u) << "a worker that was never there does not exit";
}

TEST(FailedFork, LeavesTheSlotUsable) { CheckFailedForks(MasterIs::kAttached); }
TEST(FailedFork, LeavesTheSlotUsableWithoutALoop) { CheckFailedForks(MasterIs::kWithoutLoop); }

TEST(FailedFork, OfAFirstWorkerLeavesTheSlotFree) {
  Family family(FamilyOf(1));
  {
    const Fault<&Calls::fork> fault(1, EAGAIN);
    EXPECT_TRUE(Says(family->Spawn([](Slot) { return 0; }).status(), StatusCode::kResourceExhausted,
                     {"slot 1", std::strerror(EAGAIN)}));
  }
  EXPECT_TRUE(family->Workers().empty());
  const Peer worker = family.Spawn([](Member&) {});
  EXPECT_EQ(worker.slot, 1);
  EXPECT_EQ(worker.generation, 2u);
  EXPECT_TRUE(family.Ready());
}

TEST(FailedFork, InTheExitHookCanBeTriedAgain) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  absl::Status refused;
  family.OnExit([&](const WorkerExit& exit) {
    const Fault<&Calls::fork> fault(1, EAGAIN);
    refused = family->Respawn(exit.worker.slot).status();
    family.Respawn(exit.worker.slot);
  });
  family.Kill(family.live[1]);
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
  EXPECT_TRUE(Says(refused, StatusCode::kResourceExhausted, {"slot 1"}));
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(family.live[1].generation, 3u);
}

// The worker runs then, and its death is noticed all the same.
TEST(FailedWatch, OfANewWorkerIsMadeUpForByAsking) {
  Family family(FamilyOf(2));
  Peer workers[2];
  {
    const Fault<&Calls::pidfd_open> fault(1, EMFILE);
    workers[0] = family.Spawn([](Member&) {});
  }
  {
    const Fault<&Calls::epoll_ctl> fault(1, ENOSPC);
    workers[1] = family.Spawn([](Member&) {});
  }
  ASSERT_TRUE(family.Ready());
  for (const Peer& worker : workers) EXPECT_TRUE(family.KillAndReap(worker)) << worker.slot;
}

}  // namespace
}  // namespace alertpipe::process
