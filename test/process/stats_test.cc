// SPDX-License-Identifier: Apache-2.0
//
// Figures of real processes: each counter moves by what it says, the dead leave theirs, and whoever
// is of the same user can read them, and no more than read.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

struct Heard {
  Count alerts[8];
  Count step;
};

Member::Body Listener(Heard* heard) {
  return [heard](Member& me) {
    const int slot = me.slot();
    me->ReceiveDefault([heard, slot](Alert&) { ++heard->alerts[slot]; });
  };
}

// Runs `look` in a process of its own, which is no member of any family, and gives its exit code.
int AsOutsider(const std::function<bool()>& look) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(look() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The figures of the one family of this process, or a failure.
FamilyStats ReadOwn() {
  const absl::StatusOr<std::vector<FamilyStats>> families = ReadFamilyStats(getpid());
  EXPECT_TRUE(families.ok()) << families.status();
  if (!families.ok() || families->size() != 1) {
    ADD_FAILURE() << "not one family";
    return FamilyStats();
  }
  return families->front();
}

// ---- Each counter -------------------------------------------------------------------------------

TEST(Counters, RefusalsByCause) {
  MasterOptions options = TightFamilyOf(2);
  options.queued_bytes_per_peer_max = 8192;
  Family family(options);
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  EXPECT_FALSE(family->Send(deaf, std::string(255, 'n'), "12").ok());
  EXPECT_FALSE(family->Send(To::Slot(2), "name", "123").ok());
  EXPECT_FALSE(family->Send(To::Slot(9), "name", "123").ok());
  std::uint64_t full = 0;
  family.InTurn([&] {
    while (family->Send(deaf, "name", std::string(3000, 'x')).ok()) ASSERT_LT(++full, 100u);
  });
  Stats stats = family->stats();
  EXPECT_EQ(stats.refused_invalid, 1u);
  EXPECT_EQ(stats.refused_unreachable, 2u);
  EXPECT_EQ(stats.refused_full, 1u);
  EXPECT_EQ(stats.refused_memory, 0u);
  EXPECT_EQ(stats.refused_closed, 0u);
  EXPECT_EQ(stats.alerts_refused, 4u);
  EXPECT_EQ(stats.bytes_refused, 257u + 7 + 7 + 3004);
  EXPECT_EQ(stats.alerts_accepted, full);
  EXPECT_GE(stats.writes_blocked, 1u);
  EXPECT_EQ(stats.write_errors, 0u);
  EXPECT_GE(stats.queued_bytes, 3000u);
  EXPECT_EQ(stats.queued_bytes, family->QueuedBytes());
  EXPECT_GE(stats.queued_bytes_peak, stats.queued_bytes);
  // The end gives back what is queued.
  ASSERT_TRUE(family->Close(absl::ZeroDuration()).ok());
  EXPECT_FALSE(family->Send(deaf, "name").ok());
  EXPECT_FALSE(family->Broadcast("name").ok());
  ASSERT_TRUE(family.Until([&] { return family->stats().undelivered_closed > 0; }));
  stats = family->stats();
  EXPECT_EQ(stats.refused_closed, 2u);
  EXPECT_EQ(stats.alerts_refused, 6u);
  EXPECT_EQ(stats.undelivered_closed, stats.alerts_undelivered);
  EXPECT_EQ(stats.alerts_undelivered + stats.alerts_written, stats.alerts_accepted);
  EXPECT_EQ(stats.queued_bytes, 0u);
}

TEST(Counters, AMasterWithoutALoopRefuses) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  EXPECT_FALSE(family->Send(To::Slot(1), "name").ok());
  EXPECT_EQ(family->stats().refused_closed, 1u);
  EXPECT_EQ(family->stats().bytes_refused, 4u);
}

TEST(Counters, WhatAReceiverDoes) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  const Peer worker = family.Spawn([&heard](Member& me) {
    me->Receive("good", [&](Alert&) { ++heard->alerts[1]; });
    me->Receive("bad", [&](Alert&) {
      ++heard->alerts[2];
      throw std::runtime_error("on purpose");
    });
    me->OnHandlerError([](const HandlerError&) {});
  });
  ASSERT_TRUE(family.Ready());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(family->Send(worker, "good", std::string(10000, 'x')).ok());
    ASSERT_TRUE(family->Send(worker, "nobody hears", "1234").ok());
    ASSERT_TRUE(family->Send(worker, "bad").ok());
  }
  const auto figures = [&] { return family->StatsOf(1)->live->stats; };
  ASSERT_TRUE(family.Until([&] { return figures().handler_errors == 3; }));
  const Stats stats = figures();
  EXPECT_EQ(stats.alerts_delivered, 6u);
  EXPECT_EQ(stats.bytes_delivered, 3u * (10004 + 3));
  EXPECT_EQ(stats.alerts_unhandled, 3u);
  EXPECT_EQ(stats.bytes_unhandled, 3u * (12 + 4));
  // The master has also told itself that a worker has joined.
  ASSERT_TRUE(family.Until([&] { return family->stats().control_read == 1; }));
  EXPECT_EQ(stats.packets_read + family->stats().packets_read, family->stats().packets_written);
  EXPECT_GE(stats.reads, 1u);
  EXPECT_EQ(stats.read_errors, 0u);
  EXPECT_GE(stats.reassembly_bytes_peak, 10000u);
  EXPECT_EQ(stats.reassembly_bytes, 0u);
  EXPECT_GE(family->pipe_capacity(), 4096u);
  EXPECT_EQ(stats.pipe_capacity, family->pipe_capacity());
  EXPECT_EQ(family->stats().pipe_capacity, family->pipe_capacity());
}

TEST(Counters, DamageByKind) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  family.Inject(1, std::string(100, 'x'));
  ASSERT_TRUE(family.Until([&] { return family->StatsOf(1)->live->stats.damaged_framing == 1; }));
  const Stats stats = family->StatsOf(1)->live->stats;
  EXPECT_EQ(stats.damaged_bytes, 100u);
  EXPECT_EQ(stats.damaged_packets, 0u);
  EXPECT_EQ(stats.damaged_records, 0u);
}

TEST(Counters, ADeadReceiverCostsWhatWasQueuedAndWhatWasInItsPipe) {
  Family family(TightFamilyOf(2));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  family.InTurn([&] {
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(family->Send(deaf, "name", std::string(4000, 'x')).ok());
    }
  });
  ASSERT_TRUE(family.KillAndReap(deaf));
  ASSERT_TRUE(family.Until([&] { return family->stats().undelivered_peer_died == 2; }));
  const Stats stats = family->stats();
  EXPECT_EQ(stats.alerts_undelivered, 2u);
  EXPECT_EQ(stats.alerts_drained, 1u);
  const std::optional<SlotStats> slot = family->StatsOf(1);
  ASSERT_TRUE(slot.has_value() && slot->last.has_value());
  EXPECT_EQ(slot->last->stats.alerts_drained, 1u);
  EXPECT_EQ(slot->last->stats.pipe_capacity, 4096u);
}

// ---- The master ---------------------------------------------------------------------------------

TEST(StatsOf, ShowsTheLivingAndKeepsTheLastOfTheDead) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  const Peer first = family.Spawn(Listener(&*heard));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(family->Send(first, "name", "data").ok());
  ASSERT_TRUE(family.Until([&] { return family->StatsOf(1)->live->stats.alerts_delivered == 5; }));
  std::optional<SlotStats> slot = family->StatsOf(1);
  EXPECT_EQ(slot->slot, 1);
  EXPECT_EQ(slot->state, SlotState::kUp);
  EXPECT_EQ(slot->live->peer, first);
  EXPECT_EQ(slot->live->peer.pid, first.pid);
  EXPECT_FALSE(slot->last.has_value());

  ASSERT_TRUE(family.KillAndReap(first));
  slot = family->StatsOf(1);
  EXPECT_EQ(slot->state, SlotState::kDown);
  EXPECT_FALSE(slot->live.has_value());
  ASSERT_TRUE(slot->last.has_value());
  EXPECT_EQ(slot->last->peer, first);
  EXPECT_EQ(slot->last->peer.pid, first.pid);
  EXPECT_EQ(slot->last->stats.alerts_delivered, 5u);

  // The successor begins at 0, and its predecessor's figures stay.
  const Peer second = family.Respawn(1);
  ASSERT_TRUE(family.Ready());
  slot = family->StatsOf(1);
  ASSERT_TRUE(slot->live.has_value() && slot->last.has_value());
  EXPECT_EQ(slot->live->peer, second);
  EXPECT_EQ(slot->live->stats.alerts_delivered, 0u);
  EXPECT_EQ(slot->last->peer, first);
  EXPECT_EQ(slot->last->stats.alerts_delivered, 5u);

  // Until it dies itself.
  ASSERT_TRUE(family->Send(second, "name", "data").ok());
  ASSERT_TRUE(family.Until([&] { return family->StatsOf(1)->live->stats.alerts_delivered == 1; }));
  ASSERT_TRUE(family.KillAndReap(second));
  slot = family->StatsOf(1);
  EXPECT_EQ(slot->last->peer, second);
  EXPECT_EQ(slot->last->stats.alerts_delivered, 1u);
}

TEST(StatsOf, SlotsThatNeverHadAWorkerAndNumbersThatAreNone) {
  Family family(FamilyOf(2));
  const std::optional<SlotStats> free = family->StatsOf(2);
  ASSERT_TRUE(free.has_value());
  EXPECT_EQ(free->state, SlotState::kFree);
  EXPECT_FALSE(free->live.has_value() || free->last.has_value());
  EXPECT_FALSE(family->StatsOf(3).has_value());
  EXPECT_FALSE(family->StatsOf(-1).has_value());
  const std::optional<SlotStats> master = family->StatsOf(kMasterSlot);
  EXPECT_EQ(master->state, SlotState::kUp);
  EXPECT_EQ(master->live->peer, family->self());
  EXPECT_EQ(master->live->peer.pid, getpid());
}

// ---- Anybody of the same user -------------------------------------------------------------------

TEST(Outsider, SeesTheWholeFamily) {
  Shared<Heard> heard;
  Family family(FamilyOf(3));
  const Peer first = family.Spawn(Listener(&*heard));
  const Peer second = family.Spawn(Listener(&*heard));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(family->Send(first, "name", "data").ok());
  ASSERT_TRUE(family.Until([&] { return family->StatsOf(1)->live->stats.alerts_delivered == 4; }));
  ASSERT_TRUE(family.KillAndReap(first));
  const Peer third = family.Respawn(1);
  ASSERT_TRUE(family.Ready());
  const pid_t master = getpid();
  EXPECT_EQ(AsOutsider([&] {
              const auto families = ReadFamilyStats(master);
              if (!families.ok() || families->size() != 1) return false;
              const FamilyStats& seen = families->front();
              if (seen.master.pid != master || seen.slots.size() != 4) return false;
              const SlotStats& one = seen.slots[1];
              return seen.slots[0].live->stats.alerts_accepted == 4 && one.live->peer == third &&
                     one.live->peer.pid == third.pid && one.live->stats.alerts_delivered == 0 &&
                     one.last->peer == first && one.last->peer.pid == first.pid &&
                     one.last->stats.alerts_delivered == 4 && seen.slots[2].live->peer == second &&
                     !seen.slots[2].last.has_value() && seen.slots[3].state == SlotState::kFree &&
                     !seen.slots[3].live.has_value();
            }),
            0);
}

TEST(Outsider, SeesAMasterWithoutALoop) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  const Peer worker = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  FamilyStats seen = ReadOwn();
  ASSERT_EQ(seen.slots.size(), 2u);
  EXPECT_EQ(seen.slots[0].state, SlotState::kFree);
  ASSERT_TRUE(seen.slots[0].live.has_value());
  EXPECT_EQ(seen.slots[1].live->peer, worker);
  // Nobody has noticed the death yet: what the page says is still the worker's.
  family.Kill(worker);
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(worker.pid), &info, WEXITED | WNOWAIT), 0);
  seen = ReadOwn();
  EXPECT_EQ(seen.slots[1].state, SlotState::kUp);
  EXPECT_TRUE(seen.slots[1].live.has_value());
  ASSERT_TRUE(family->Service().ok());
  seen = ReadOwn();
  EXPECT_EQ(seen.slots[1].state, SlotState::kDown);
  EXPECT_FALSE(seen.slots[1].live.has_value());
  EXPECT_EQ(seen.slots[1].last->peer, worker);
}

TEST(Outsider, SeesCountersRiseWhileTheyAreWritten) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  const auto pong = [&heard](Member& me) {
    me->Receive("ball", [&heard](Alert& alert) {
      ++heard->step;
      alert.Reply("ball");
    });
  };
  family.Spawn(pong);
  const Peer second = family.Spawn(pong);
  ASSERT_TRUE(family.Ready());
  family->Receive("ball", [](Alert& alert) { alert.Reply("ball"); });
  ASSERT_TRUE(family->Send(To::Slot(1), "ball").ok());
  ASSERT_TRUE(family->Send(second, "ball").ok());
  std::uint64_t before[3] = {};
  std::uint64_t readings = 0;
  ASSERT_TRUE(family.Until([&] {
    const FamilyStats seen = ReadOwn();
    for (std::size_t slot = 0; slot < seen.slots.size(); ++slot) {
      if (!seen.slots[slot].live.has_value()) {
        ADD_FAILURE() << "slot " << slot << " has vanished";
        return true;
      }
      const std::uint64_t now = seen.slots[slot].live->stats.alerts_delivered;
      EXPECT_GE(now, before[slot]);
      before[slot] = now;
    }
    return ++readings >= 200 && heard->step >= 500;
  }));
  EXPECT_GT(before[1], 0u);
  EXPECT_GT(before[2], 0u);
}

TEST(Outsider, IsToldWhyThereIsNothing) {
  EXPECT_TRUE(Says(ReadFamilyStats(0).status(), StatusCode::kInvalidArgument, {"0"}));
  EXPECT_TRUE(Says(ReadFamilyStats(-1).status(), StatusCode::kInvalidArgument, {"-1"}));
  EXPECT_TRUE(Says(ReadFamilyStats(getpid()).status(), StatusCode::kNotFound,
                   {std::to_string(getpid()), "no family"}));
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  ASSERT_EQ(waitpid(gone, nullptr, 0), gone);
  EXPECT_TRUE(Says(ReadFamilyStats(gone).status(), StatusCode::kNotFound, {std::to_string(gone)}));
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(Says(ReadFamilyStats(worker.pid).status(), StatusCode::kNotFound, {"no family"}))
      << "a worker holds none of the descriptors";
}

TEST(Outsider, OfAnotherUserIsRefused) {
  if (getuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  Family family(FamilyOf(1));
  const pid_t master = getpid();
  EXPECT_EQ(AsOutsider([&] {
              if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
                return false;
              return ReadFamilyStats(master).status().code() == StatusCode::kPermissionDenied;
            }),
            0);
}

TEST(Outsider, SeesEachFamilyOfAProcess) {
  Family first(FamilyOf(1));
  {
    const absl::StatusOr<std::unique_ptr<Master>> second = Master::Create(FamilyOf(5));
    ASSERT_TRUE(second.ok());
    const auto families = ReadFamilyStats(getpid());
    ASSERT_TRUE(families.ok()) << families.status();
    ASSERT_EQ(families->size(), 2u);
    EXPECT_EQ((*families)[0].slots.size(), 2u);
    EXPECT_EQ((*families)[1].slots.size(), 6u);
  }
  EXPECT_EQ(ReadOwn().slots.size(), 2u);
}

// A memory file with the name of a roster.
int Counterfeit(const std::string& content, bool sealed) {
  const int fd = memfd_create("alertpipe-roster", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(ftruncate(fd, 4096), 0);
  EXPECT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  if (sealed) {
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  }
  return fd;
}

TEST(Outsider, DoesNotTakeForeignMemoryForAFamily) {
  const struct {
    std::string content;
    bool sealed;
    StatusCode code;
  } cases[] = {
      {std::string(4096, 'x'), true, StatusCode::kFailedPrecondition},
      {std::string(4096, 'x'), false, StatusCode::kNotFound},  // could shrink while it is read
      {"", true, StatusCode::kNotFound},                       // being created
      // The right magic, of another version.
      {std::string("ApRoster") + std::string(100, '\1'), true, StatusCode::kFailedPrecondition},
  };
  for (const auto& c : cases) {
    const int fd = Counterfeit(c.content, c.sealed);
    EXPECT_EQ(ReadFamilyStats(getpid()).status().code(), c.code) << c.content.substr(0, 8);
    close(fd);
  }
}

// ---- No more than read --------------------------------------------------------------------------

// How many memory files of alertpipe process `pid` holds, and how many of them the calling process
// can write or map for writing.
struct MemoryFiles {
  int held = 0;
  int writable = 0;
};

MemoryFiles MemoryFilesOf(pid_t pid) {
  MemoryFiles files;
  for (int number = 0; number < 1024; ++number) {
    const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(number);
    char target[64] = {};
    if (readlink(link.c_str(), target, sizeof target - 1) < 0) continue;
    if (std::string_view(target).rfind("/memfd:alertpipe", 0) != 0) continue;
    ++files.held;
    const int fd = open(link.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    void* data = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const bool mapped = data != MAP_FAILED;
    if (mapped) munmap(data, 4096);
    const char byte = 0;
    if (mapped || pwrite(fd, &byte, 1, 4000) > 0) ++files.writable;
    close(fd);
  }
  return files;
}

TEST(Outsider, AndRelativesCannotWrite) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  const pid_t master = getpid();
  family.Spawn([master, &heard](Member& me) {
    const MemoryFiles of_master = MemoryFilesOf(master);
    me.Check(of_master.held == 2, "roster and counters are found");
    me.Check(of_master.writable == 0, "a worker can write its master's memory");
    me.Check(MemoryFilesOf(getpid()).held == 0, "a worker holds memory files");
    ++heard->step;
  });
  ASSERT_TRUE(family.Until([&] { return heard->step == 1; }));
  EXPECT_EQ(AsOutsider([master] {
              const MemoryFiles of_master = MemoryFilesOf(master);
              return of_master.held == 2 && of_master.writable == 0;
            }),
            0);
}

// ---- The tool -----------------------------------------------------------------------------------

struct Output {
  std::string text;
  int code = -1;
};

Output RunTool(const std::string& words) {
  const std::string command = std::string(getenv("ALERTPIPE_STAT")) + " " + words + " 2>&1";
  Output output;
  FILE* pipe = popen(command.c_str(), "re");
  std::array<char, 4096> part;
  for (std::size_t bytes; (bytes = fread(part.data(), 1, part.size(), pipe)) > 0;)
    output.text.append(part.data(), bytes);
  const int status = pclose(pipe);
  output.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

bool Holds(const Output& output, const std::string& text) {
  return output.text.find(text) != std::string::npos;
}

TEST(Tool, PrintsTheFamilyASlotAndWhatIsWrong) {
  if (getenv("ALERTPIPE_STAT") == nullptr) GTEST_SKIP() << "the tool was not built";
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  const Peer first = family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(first));
  const Peer second = family.Respawn(1);
  ASSERT_TRUE(family.Ready());
  const std::string master = std::to_string(getpid());

  const Output table = RunTool(master);
  EXPECT_EQ(table.code, 0) << table.text;
  EXPECT_TRUE(Holds(table, "family of master " + master + ", 2 slots")) << table.text;
  EXPECT_TRUE(Holds(table, std::to_string(first.pid) + "  last")) << table.text;
  EXPECT_TRUE(Holds(table, std::to_string(second.pid) + "  up")) << table.text;

  const Output slot = RunTool(master + " 1");
  EXPECT_EQ(slot.code, 0) << slot.text;
  EXPECT_TRUE(Holds(slot, "alerts_delivered")) << slot.text;
  EXPECT_TRUE(Holds(slot, "LAST (pid " + std::to_string(first.pid) + ", generation 1)"));

  const Output none = RunTool(master + " 7");
  EXPECT_EQ(none.code, 1);
  EXPECT_TRUE(Holds(none, "no slot 7")) << none.text;
  for (const char* wrong : {"", "x", "1 2 3", "--watch", "--watch=0 1", "--watch= 1", "-1"}) {
    const Output usage = RunTool(wrong);
    EXPECT_EQ(usage.code, 2) << wrong;
    EXPECT_TRUE(Holds(usage, "usage:")) << wrong;
  }
}

TEST(Tool, WatchesUntilTheMasterHasGone) {
  if (getenv("ALERTPIPE_STAT") == nullptr) GTEST_SKIP() << "the tool was not built";
  int created[2];
  ASSERT_EQ(pipe2(created, O_CLOEXEC), 0);
  const pid_t master = fork();
  if (master == 0) {
    alarm(60);
    const absl::StatusOr<std::unique_ptr<Master>> family = Master::Create(FamilyOf(1));
    if (!family.ok() || write(created[1], "y", 1) != 1) _exit(1);
    for (;;) pause();
  }
  close(created[1]);
  char byte = 0;
  EXPECT_EQ(read(created[0], &byte, 1), 1);
  close(created[0]);
  const std::string command =
      std::string(getenv("ALERTPIPE_STAT")) + " --watch=0.02 " + std::to_string(master);
  FILE* pipe = popen(command.c_str(), "re");
  const std::string heading = "family of master " + std::to_string(master);
  std::array<char, 4096> line;
  int shown = 0;
  while (shown < 3 && fgets(line.data(), line.size(), pipe) != nullptr)
    shown += std::string_view(line.data()).rfind(heading, 0) == 0 ? 1 : 0;
  EXPECT_EQ(shown, 3);
  kill(master, SIGKILL);
  EXPECT_EQ(waitpid(master, nullptr, 0), master);
  while (fgets(line.data(), line.size(), pipe) != nullptr) {
  }
  const int status = pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// ---- Latency ------------------------------------------------------------------------------------

// Alerts of all sizes, a request and its response: each is counted where it is handled.
TEST(Latency, IsCountedForEachAlertWhereTheFamilyWantsIt) {
  for (const bool wanted : {true, false}) {
    MasterOptions options = FamilyOf(2);
    options.latency_histograms = wanted;
    Shared<Count> handled;
    Family family(options);
    const Peer asked = family.Spawn([&](Member& me) {
      me->Receive("n", [&](Alert& alert) {
        if (alert.is_request()) alert.Respond("yes");
        ++*handled;
      });
      me.Run();
    });
    const Peer asker = family.Spawn([&](Member& me) {
      for (int i = 0; i < 20; ++i) me->Send(To::Slot(asked.slot), "n", Pattern(i * 500, 1));
      me->Broadcast("n", "to all", Scope::kOthers);
      me->Request(To::Slot(asked.slot), "n", "?", absl::InfiniteDuration(),
                  [&](Response& response) { *handled += response.ok() ? 1 : 0; });
      me.Run();
    });
    ASSERT_TRUE(family.Until([&] { return *handled == 23; }));
    const auto latency = [&](const Peer& worker) {
      return family->StatsOf(worker.slot)->live->stats.latency;
    };
    EXPECT_EQ(latency(asked).count(), wanted ? 22u : 0u);
    EXPECT_EQ(latency(asker).count(), wanted ? 1u : 0u);
    // By the same clock in both processes: neither nothing nor longer than the test took.
    const absl::Duration longest = latency(asked).Percentile(100);
    EXPECT_LT(longest, absl::Seconds(2 * LivenessLimitSeconds()));
    EXPECT_EQ(longest > absl::ZeroDuration(), wanted);
  }
}

}  // namespace
}  // namespace alertpipe::process
