// SPDX-License-Identifier: Apache-2.0
//
// Lingering: an inbox that is empty is tried again before the loop waits.
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "family.h"
#include "runner/test_case.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

AttachOptions Lingering(int tries) {
  AttachOptions options;
  options.linger = tries;
  return options;
}

struct Board {
  Count rounds[3];
  Count ticks[3];
  Count reads[3];
  Count reads_empty[3];
  Count flag;
};

TEST(LingerOption, OutOfRangeIsRefused) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  EXPECT_TRUE(Says(family.Attach(Lingering(-1)), StatusCode::kInvalidArgument,
                   {"linger", "0 to 10000", "was -1"}));
  EXPECT_TRUE(Says(family.Attach(Lingering(kLingerMax + 1)), StatusCode::kInvalidArgument,
                   {"linger", "was 10001"}));
  EXPECT_TRUE(family.Attach(Lingering(kLingerMax)).ok());
}

constexpr std::uint64_t kForEver = ~std::uint64_t{0};

std::size_t SizeOf(std::uint64_t round) {
  constexpr std::size_t kSizes[] = {8, 8, 100, 4000, 4061, 9000, 70000};
  return kSizes[round % std::size(kSizes)];
}

// Slot 1 asks, slot 2 answers; both check the number of the round.
void Talk(Member& me, Board* board, std::uint64_t rounds) {
  const int slot = me.slot();
  const int other = 3 - slot;
  std::uint64_t expected = slot == 1 ? 1 : 0;
  me->Receive("round", [&](Alert& alert) {
    const std::uint64_t round = NumberOf(alert.data());
    me.Check(round == expected, "a round is missing");
    me.Check(alert.data() == Numbered(round, SizeOf(round)), "other data");
    ++board->rounds[slot];
    expected = round + 2;
    if (round >= rounds) return;
    const bool sent = alert.Reply("round", Numbered(round + 1, SizeOf(round + 1))).ok();
    me.Check(sent || rounds == kForEver, "refused");
  });
  me->Receive("begin", [&](Alert&) { me->Send(To::Slot(other), "round", Numbered(0, SizeOf(0))); });
  me.Every(1, [&] {
    board->ticks[slot]++;
    board->reads[slot] = me->stats().reads;
    board->reads_empty[slot] = me->stats().reads_empty;
  });
  me.Run();
}

TEST(Linger, AConversationIsWholeAndTriesInVainAreCounted) {
  constexpr std::uint64_t kRounds = 20000;
  Shared<Board> board;
  Family family(FamilyOf(2));
  for (int i = 0; i < 2; ++i)
    family.Spawn([&](Member& me) { Talk(me, &*board, kRounds); }, Lingering(3));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(1), "begin").ok());
  ASSERT_TRUE(family.Until([&] {
    return board->rounds[1] + board->rounds[2] == kRounds + 1 && board->reads_empty[1] > 0 &&
           board->reads_empty[2] > 0;
  }));
}

TEST(Linger, WithoutItNoReadOfSmallAlertsIsInVain) {
  Shared<Board> board;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("n", [&](Alert& alert) { alert.Reply("n"); });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    me->Receive("n", [&](Alert& alert) {
      board->reads_empty[0] = me->stats().reads_empty;
      if (++board->rounds[0] < 1000) alert.Reply("n");
    });
    me->Send(To::Slot(1), "n");
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return board->rounds[0] == 1000; }));
  EXPECT_EQ(board->reads_empty[0], 0u);
}

// Each finds the other's alert before it would fall asleep, for ever.
TEST(Linger, TimersRunInAConversationThatDoesNotEnd) {
  Shared<Board> board;
  Family family(FamilyOf(2));
  for (int i = 0; i < 2; ++i)
    family.Spawn([&](Member& me) { Talk(me, &*board, kForEver); }, Lingering(kLingerMax));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(1), "begin").ok());
  ASSERT_TRUE(family.Until([&] { return board->ticks[1] >= 50 && board->ticks[2] >= 50; }));
}

// Its timer makes the loop turn, and nothing to be read.
TEST(Linger, WhoReceivesNothingDoesNotTry) {
  Shared<Board> board;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert&) { ++board->rounds[1]; });
        me.Every(1, [&] {
          ++board->ticks[1];
          board->reads[1] = me->stats().reads;
        });
        me.Run();
      },
      Lingering(100));
  ASSERT_TRUE(family->Send(worker, "n").ok());
  ASSERT_TRUE(family.Until([&] { return board->rounds[1] == 1; }));
  const std::uint64_t first = board->ticks[1];
  ASSERT_TRUE(family.Until([&] { return board->ticks[1] >= first + 3; }));
  const std::uint64_t reads = board->reads[1];
  EXPECT_GE(reads, 101u) << "it has lingered";
  const std::uint64_t second = board->ticks[1];
  ASSERT_TRUE(family.Until([&] { return board->ticks[1] >= second + 20; }));
  EXPECT_EQ(board->reads[1], reads);
}

// The loop reads its clock before it lingers. Timers that handlers start count from it.
TEST(Linger, TheLoopsClockIsNotLeftBehind) {
  Shared<Board> board;
  Family family(FamilyOf(2));
  family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert& alert) {
          alert.Reply("n");
          if (++board->rounds[1] != 1000) return;
          // How far the loop's own clock is behind.
          timespec now;
          clock_gettime(CLOCK_MONOTONIC, &now);
          const auto now_ms = static_cast<uint64_t>(now.tv_sec * 1000 + now.tv_nsec / 1000000);
          board->ticks[1] = now_ms - uv_now(me.loop()) + 1;
        });
        me.Run();
      },
      Lingering(kLingerMax));
  family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert& alert) {
          // A handler that takes its time.
          if (board->rounds[1] == 999) usleep(200000);
          alert.Reply("n");
        });
        me->Receive("begin", [&](Alert&) { me->Send(To::Slot(1), "n"); });
        me.Run();
      },
      Lingering(kLingerMax));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(2), "begin").ok());
  ASSERT_TRUE(family.Until([&] { return board->ticks[1] > 0; }));
  EXPECT_LT(board->ticks[1], 100u);
}

// Nobody wants to be told of it, so it is no reason to wait.
TEST(Linger, AlsoAfterAnAlertWithoutAHandler) {
  Shared<Board> board;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert&) { ++board->rounds[1]; });
        me.Every(1, [&] { board->reads_empty[1] = me->stats().reads_empty; });
        me.Run();
      },
      Lingering(50));
  ASSERT_TRUE(family->Send(worker, "nobody's").ok());
  ASSERT_TRUE(family.Until([&] { return board->reads_empty[1] >= 50; })) << "after the first";
  const std::uint64_t before = board->reads_empty[1];
  ASSERT_TRUE(family->Send(worker, "n").ok());
  ASSERT_TRUE(family.Until([&] { return board->rounds[1] == 1; }));
  EXPECT_TRUE(family.Until([&] { return board->reads_empty[1] >= before + 50; }));
}

// The child of a handler goes on with a copy of its stack: it must leave the pipe alone.
TEST(Linger, AChildThatReturnsFromAHandlerReadsNothing) {
  Shared<Board> board;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(
      [&](Member& me) {
        const pid_t parent = getpid();
        pid_t child = -1;
        me->Receive("fork", [&](Alert&) {
          child = fork();
          if (child == 0) alarm(60);
        });
        me->Receive("n", [&](Alert&) { ++board->rounds[getpid() == parent ? 1 : 2]; });
        me->Receive("end", [&](Alert&) {
          kill(child, SIGKILL);
          int status = 0;
          me.Check(waitpid(child, &status, 0) == child, "the child");
          ++board->flag;
        });
        me.Run();
      },
      Lingering(kLingerMax));
  ASSERT_TRUE(family->Send(worker, "fork", Pattern(5000, 1)).ok());
  for (std::uint64_t round = 1; round <= 200; ++round) {
    ASSERT_TRUE(family->Send(worker, "n", Pattern(4000, 1)).ok());
    ASSERT_TRUE(family->Flush().ok());
    ASSERT_TRUE(family.Until([&] { return board->rounds[1] + board->rounds[2] >= round; }));
  }
  ASSERT_TRUE(family->Send(worker, "end").ok());
  ASSERT_TRUE(family.Until([&] { return board->flag == 1; }));
  EXPECT_EQ(board->rounds[2], 0u);
}

// That the pipe has room again is heard in the loop only.
TEST(Linger, NotWhileAPipeIsFull) {
  Shared<Board> board;
  Family family(TightFamilyOf(2));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  const Peer worker = family.Spawn(
      [&](Member& me) {
        me->Receive("fill", [&](Alert&) {
          while (me->Send(To::Slot(deaf.slot), "n", Pattern(3000, 1)).outcome() ==
                 Outcome::kWritten) {
            me->Flush();
          }
          board->reads_empty[1] = me->stats().reads_empty;
        });
        me->Receive("n", [&](Alert&) {
          ++board->rounds[1];
          board->reads_empty[2] = me->stats().reads_empty;
        });
        me.Run();
      },
      Lingering(100));
  ASSERT_TRUE(family->Send(worker, "fill").ok());
  for (std::uint64_t round = 1; round <= 5; ++round) {
    ASSERT_TRUE(family->Send(worker, "n").ok());
    ASSERT_TRUE(family.Until([&] { return board->rounds[1] == round; }));
  }
  EXPECT_EQ(board->reads_empty[2], board->reads_empty[1]);
  family.Wake(deaf);
}

TEST(Linger, HandlersMayEndTheEndpoint) {
  Shared<Board> board;
  Family family(FamilyOf(2));
  const Peer destroyed = family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert& alert) {
          alert.Reply("gone");
          me.worker.reset();
        });
        me.Run();
      },
      Lingering(1000));
  const Peer closed = family.Spawn(
      [&](Member& me) {
        me->Receive("n", [&](Alert& alert) {
          alert.Reply("gone");
          me.End();
        });
        me.Run();
      },
      Lingering(1000));
  family->Receive("gone", [&](Alert&) { ++board->rounds[0]; });
  family.ExpectExit(destroyed, 0);
  family.ExpectExit(closed, 0);
  ASSERT_TRUE(family.Ready());
  for (const Peer& worker : {destroyed, closed}) {
    // The first makes it linger, the second finds it so, mostly.
    family->Send(worker, "other");
    family->Flush();
    family->Send(worker, "n");
  }
  ASSERT_TRUE(family.Until([&] { return board->rounds[0] == 2; }));
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 2; }));
}

}  // namespace
}  // namespace alertpipe::process
