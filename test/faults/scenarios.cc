// SPDX-License-Identifier: Apache-2.0
//
// What a family does while something fails. Each scenario is short, since it is played once for
// every call that it makes and every error of it; what it sends is checked by the stage.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <absl/strings/str_cat.h>

#include "faults/stage.h"
#include "os/calls.h"

namespace alertpipe::faults {
namespace {

// A little more than fits into a packet's worth of data, and what needs many.
constexpr std::size_t kTwoPackets = 5000;
constexpr std::size_t kLarge = 150000;  // mapped, and grown, where it is put together again
constexpr std::size_t kMedium = 30000;

MasterOptions FamilyOf(int workers, std::size_t pipe_capacity = 65536) {
  MasterOptions options;
  options.workers_max = workers;
  options.pipe_capacity = pipe_capacity;
  return options;
}

// Two workers, which play their parts once they have heard the master's first alert.
struct Two {
  Peer one, two;
  bool ok = false;
};

Two StartTwo(Stage& stage, Part first = nullptr, Part second = nullptr) {
  Two workers;
  workers.one = stage.Spawn(std::move(first));
  workers.two = stage.Spawn(std::move(second));
  workers.ok = stage.Ready() && stage.Has(workers.one) && stage.Has(workers.two);
  return workers;
}

// A part that is played when the stage says so, by a flag.
Part OnFlag(int flag, Part part) {
  return [flag, part = std::move(part)](Actor& me, std::unique_ptr<Worker>& worker) {
    while (me.ledger()->flags[flag] == 0 && me.ledger()->phase.load() == Phase::kAct) me.Turn();
    if (me.ledger()->phase.load() == Phase::kAct) part(me, worker);
    ++me.ledger()->flags[flag];
  };
}

// Arms, starts the part, and waits for its end.
void Go(Stage& stage, int flag) {
  stage.ledger()->flags[flag] = 1;
  stage.me.Until("a worker's part", [&] { return stage.ledger()->flags[flag] == 2; });
}

Peer SlotOne() { return {0, 1, 1}; }
Peer SlotTwo() { return {0, 2, 1}; }
Peer TheMaster() { return {0, 0, 1}; }

void SendSome(Actor& me, const Peer& to, std::initializer_list<std::size_t> sizes) {
  for (const std::size_t size : sizes) me.Send(to, size);
}

// The master and the first worker send to each other and to the second worker.
void Exchange(Stage& stage, std::initializer_list<std::size_t> sizes, bool owned) {
  const std::vector<std::size_t> all = sizes;
  const auto send = [all, owned](Actor& me, const Peer& to) {
    for (const std::size_t size : all) {
      if (owned) {
        me.SendOwned(to, size);
      } else {
        me.Send(to, size);
      }
    }
  };
  const Two workers = StartTwo(stage, OnFlag(0, [send](Actor& me, std::unique_ptr<Worker>&) {
                                 send(me, TheMaster());
                                 send(me, SlotTwo());
                                 me.Turns(2);
                               }));
  if (!workers.ok) return;
  stage.Arm();
  send(stage.me, workers.one);
  send(stage.me, workers.two);
  Go(stage, 0);
}

void PlaySpawn(Stage& stage) {
  stage.Arm();
  const auto hello = [](Actor& me, std::unique_ptr<Worker>&) { me.Send(TheMaster(), 100); };
  const Peer worker = stage.Spawn(hello);
  stage.Ready();
  if (worker.slot > 0 && stage.Has(worker)) stage.me.Send(worker, 100);
}

// What waits in the pipe and in the queue when the worker attaches.
void PlayEarly(Stage& stage) {
  stage.Arm();
  const Peer worker = stage.Spawn([](Actor& me, std::unique_ptr<Worker>&) { me.Turns(2); });
  if (worker.slot < 0) return;
  SendSome(stage.me, worker, {100, kTwoPackets, kLarge});
  stage.Ready();
}

void PlayBroadcast(Stage& stage) {
  const Two workers =
      StartTwo(stage, OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
                 me.Broadcast(200, Scope::kFamily, {TheMaster(), SlotOne(), SlotTwo()});
                 me.Broadcast(kMedium, Scope::kOthers, {SlotTwo()});
                 me.Turns(2);
               }));
  if (!workers.ok) return;
  stage.Arm();
  stage.me.Broadcast(200, Scope::kWorkers, {workers.one, workers.two});
  stage.me.Broadcast(kMedium, Scope::kWorkers, {workers.one, workers.two});
  Go(stage, 0);
}

void PlayRequest(Stage& stage) {
  const Two workers = StartTwo(stage, OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
                                 me.Request(TheMaster(), 100, 100);
                                 me.Request(SlotTwo(), kTwoPackets, kMedium);
                                 me.Turns(2);
                               }));
  if (!workers.ok) return;
  stage.Arm();
  stage.me.Request(workers.one, 100, kTwoPackets);
  stage.me.Request(workers.two, kMedium, 100);
  Go(stage, 0);
}

void PlayGather(Stage& stage) {
  const Two workers = StartTwo(stage, OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
                                 me.Gather(kTwoPackets, {SlotTwo()});
                                 me.Turns(2);
                               }));
  if (!workers.ok) return;
  stage.Arm();
  stage.me.Gather(100, {workers.one, workers.two});
  Go(stage, 0);
}

// A worker that does not read for a while: its pipe and then the queue towards it are full.
void PlayFull(Stage& stage) {
  const Two workers = StartTwo(
      stage,
      [](Actor& me, std::unique_ptr<Worker>&) {
        while (me.ledger()->flags[1] == 0 && me.ledger()->phase.load() == Phase::kAct) usleep(200);
      },
      OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
        me.SendUntilFull(SlotOne(), 3000);
        me.Turns(2);
      }));
  if (!workers.ok) return;
  stage.Arm();
  stage.me.SendUntilFull(workers.one, 3000);
  Go(stage, 0);
  stage.me.Turns(2);
  stage.ledger()->flags[1] = 1;
  stage.me.Until("room", [&] { return stage.me.drained > 0; });
}

void PlayRespawn(Stage& stage) {
  const Two workers = StartTwo(stage, [](Actor& me, std::unique_ptr<Worker>&) {
    if (me.ledger()->flags[1] != 0) return;
    // The first one neither reads nor ends.
    while (me.ledger()->phase.load() == Phase::kAct) usleep(200);
  });
  if (!workers.ok) return;
  SendSome(stage.me, workers.one, {100, kTwoPackets, kLarge});
  stage.me.Turns(2);
  stage.ledger()->flags[1] = 1;
  Peer successor{0, -1, 0};
  stage.on_exit = [&](const WorkerExit& exit) {
    if (exit.worker.slot == 1 && exit.worker.generation == 1) successor = stage.Respawn(1);
  };
  stage.Arm();
  stage.Kill(workers.one);
  stage.on_exit = nullptr;
  stage.Ready();
  if (successor.slot > 0 && stage.Has(successor)) stage.me.Send(successor, 100);
  stage.me.Send(workers.two, 100);
}

void PlayOwnFork(Stage& stage) {
  stage.Arm();
  absl::StatusOr<Slot> cancelled = stage.master->Reserve();
  if (stage.me.Note(cancelled.status())) stage.me.Note(stage.master->Cancel(cancelled->number()));
  absl::StatusOr<Slot> slot = stage.master->Reserve();
  if (!stage.me.Note(slot.status())) return;
  const pid_t pid = stage.ForkFor(&*slot, [](Actor& me, std::unique_ptr<Worker>&) {
    me.Send(TheMaster(), 100);
    while (me.ledger()->flags[0] == 0 && me.ledger()->phase.load() == Phase::kAct) me.Turn();
    me.Turns(2);
  });
  if (pid <= 0) return;
  const absl::StatusOr<Peer> confirmed = stage.master->Confirm(slot->number(), pid);
  const bool ok = stage.me.Note(confirmed.status());
  const Peer worker{pid, slot->number(), slot->generation()};
  stage.me.Until("the own worker",
                 [&] { return stage.ledger()->actors[ActorOf(worker)] != ActorState::kNone; });
  if (ok && stage.Has(worker)) stage.me.Send(worker, 100);
  stage.me.Turns(2);
  // Its end is the program's.
  stage.me.Until("what was sent", [&] {
    return stage.ledger()->Settled(0, ActorOf(worker)) &&
           stage.ledger()->Settled(ActorOf(worker), 0);
  });
  stage.ledger()->actors[ActorOf(worker)] = ActorState::kKilled;
  kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  stage.ledger()->tally.pids[1] = 0;
  if (ok) {
    stage.me.Note(stage.master->ReportExit(pid, status).status());
  } else {
    stage.me.Note(stage.master->Cancel(slot->number()));
  }
}

void PlayWithoutLoop(Stage& stage) {
  const Two workers = StartTwo(stage, OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
                                 me.Send(SlotTwo(), 100);
                                 me.Turns(2);
                               }));
  if (!workers.ok) return;
  stage.Arm();
  Go(stage, 0);
  stage.Kill(workers.one);
  const Peer successor = stage.Respawn(1);
  stage.Ready();
  (void)successor;
}

// The deadline passes with a receiver that does not read.
void PlayClose(Stage& stage) {
  const Two workers = StartTwo(stage, [](Actor& me, std::unique_ptr<Worker>&) {
    while (me.ledger()->flags[1] == 0 && me.ledger()->phase.load() == Phase::kAct) usleep(200);
  });
  if (!workers.ok) return;
  stage.Arm();
  SendSome(stage.me, workers.one, {100, kLarge});
  SendSome(stage.me, workers.two, {100, kLarge});
  stage.CloseMaster(absl::Milliseconds(20));
  stage.ledger()->flags[1] = 1;
}

void PlayStats(Stage& stage) {
  const Two workers = StartTwo(stage);
  if (!workers.ok) return;
  stage.Arm();
  const absl::StatusOr<std::vector<FamilyStats>> stats = ReadFamilyStats(getpid());
  // A file that cannot be looked at is left out: then this is no master.
  if (stage.me.Note(stats.status()) && (stats->size() != 1 || stats->front().slots.size() != 3))
    stage.me.Wrong("figures of another family");
  if (!stage.master->StatsOf(1).has_value()) stage.me.Wrong("no figures");
}

// A handler destroys its worker while others send to it.
void PlayDestroyed(Stage& stage) {
  const Two workers = StartTwo(stage, nullptr, [](Actor& me, std::unique_ptr<Worker>& worker) {
    me->Receive("end", [&](Alert&) {
      me.Send(TheMaster(), kTwoPackets);
      me.ledger()->actors[ActorOf(SlotTwo())] = ActorState::kEnded;
      me.Forget();
      worker.reset();
    });
    while (worker != nullptr && me.ledger()->phase.load() == Phase::kAct) me.Turn();
  });
  if (!workers.ok) return;
  stage.Arm();
  const bool sent = stage.me.Signal(workers.two, "end");
  SendSome(stage.me, workers.one, {100, kTwoPackets});
  stage.me.Until("the worker's end", [&] { return !stage.Has(workers.two) || !sent; });
}

// Everything in short.
void PlayLife(Stage& stage) {
  stage.Arm();
  const Peer one =
      stage.Spawn([](Actor& me, std::unique_ptr<Worker>&) { me.Send(TheMaster(), kTwoPackets); });
  stage.Ready();
  if (one.slot < 0 || !stage.Has(one)) return;
  stage.me.Send(one, kTwoPackets);
  stage.Kill(one);
  const Peer successor = stage.Respawn(one.slot);
  stage.Ready();
  if (successor.slot > 0 && stage.Has(successor)) stage.me.Send(successor, 100);
}

void PlayBarrier(Stage& stage) {
  const Two workers = StartTwo(stage, OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
                                 me.Send(SlotTwo(), kTwoPackets);
                                 me.Barrier();
                                 me.Turns(2);
                               }));
  if (!workers.ok) return;
  stage.Arm();
  SendSome(stage.me, workers.one, {100, kTwoPackets});
  SendSome(stage.me, workers.two, {100, kTwoPackets});
  stage.me.Barrier();
  Go(stage, 0);
}

// A part that neither reads nor turns its loop until the flag is set.
Part AsleepUntil(int flag) {
  return [flag](Actor& me, std::unique_ptr<Worker>&) {
    while (me.ledger()->flags[flag] == 0 && me.ledger()->phase.load() == Phase::kAct) usleep(200);
  };
}

constexpr absl::Duration kShort = absl::Milliseconds(5);

// Until the worker, which sleeps, was killed at its deadline. If that is what failed, it lives:
// then it wakes up, and leaves by itself.
void ExpectKilled(Stage& stage, const Peer& worker, int wakes) {
  const auto gone = [&] { return stage.reaped.count(worker.pid) != 0; };
  stage.me.Until("a kill", [&] { return gone() || stage.me.kill_error != 0; });
  if (gone()) {
    if (stage.ledger()->actors[ActorOf(worker)] != ActorState::kKilled)
      stage.me.Wrong("a worker was not killed");
    return;
  }
  if (stage.me.kill_error == 0) return;
  if (stage.fault_.site != Site::kKill || stage.me.kill_error != stage.fault_.error)
    stage.me.Wrong("a kill failed of something else");
  stage.ledger()->flags[wakes] = 1;
  stage.me.Until("a worker that could not be killed to leave", gone);
}

// What was queued for a worker when it was killed comes back.
void PlayRetireKilled(Stage& stage) {
  const Two workers = StartTwo(stage, AsleepUntil(2));
  if (!workers.ok) return;
  std::uint64_t in_its_pipe = 0;
  stage.on_exit = [&](const WorkerExit& exit) { in_its_pipe += exit.alerts_drained; };
  stage.Arm();
  stage.me.Send(workers.two, 100);
  stage.me.SendUntilFull(workers.one, 3000);
  if (stage.Retire(workers.one, kShort)) {
    stage.me.ExpectRefused(workers.one);
    ExpectKilled(stage, workers.one, 2);
  }
  stage.on_exit = nullptr;
  if (stage.ledger()->actors[ActorOf(workers.one)] != ActorState::kKilled) return;
  const Pair& pair = stage.ledger()->pairs[0][ActorOf(workers.one)];
  const auto count = [](const AlertSet& set) {
    std::uint64_t alerts = 0;
    for (unsigned number = 0; number < AlertSet::kMax; ++number) alerts += set.Has(number) ? 1 : 0;
    return alerts;
  };
  // What cannot be read from its pipe is counted nowhere: the next generation drops it as stale.
  const bool unread = stage.fault_.role == 0 && stage.fault_.site == Site::kPreadv2 &&
                      stage.ledger()->tally.failed > 0;
  stage.me.Until("what was queued", [&] {
    const std::uint64_t back = count(pair.failed);
    return back > 0 && (unread || back + in_its_pipe >= count(pair.accepted));
  });
  if (count(pair.failed) + in_its_pipe > count(pair.accepted))
    stage.me.Wrong("more came back than was sent");
}

// Everybody has sent something to a worker that is retired, and it to everybody.
void PlayRetireDrains(Stage& stage) {
  const Part first = OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
    SendSome(me, TheMaster(), {100, kTwoPackets});
    SendSome(me, SlotTwo(), {100, kTwoPackets});
    me.Request(SlotTwo(), 100, 100);
  });
  const Part second = OnFlag(1, [](Actor& me, std::unique_ptr<Worker>&) {
    SendSome(me, SlotOne(), {100, kTwoPackets});
    me.Request(SlotOne(), 100, kTwoPackets);
  });
  const Two workers = StartTwo(
      stage,
      [first](Actor& me, std::unique_ptr<Worker>& worker) {
        first(me, worker);
        AsleepUntil(2)(me, worker);
      },
      [second](Actor& me, std::unique_ptr<Worker>& worker) {
        second(me, worker);
        // Replies are taken until the last words.
        for (int sent = 0; sent < 8 && me.Reply(SlotOne(), 100); ++sent) me.Turn();
      });
  if (!workers.ok) return;
  stage.Arm();
  Go(stage, 0);
  SendSome(stage.me, workers.one, {100, kTwoPackets, kTwoPackets});
  stage.me.Request(workers.one, kTwoPackets, 100);
  Go(stage, 1);
  const bool retired = stage.Retire(workers.one, absl::InfiniteDuration());
  if (retired) stage.me.ExpectRefused(workers.one);
  stage.ledger()->flags[2] = 1;
  if (!retired) return;
  stage.me.Until("a retired worker to leave",
                 [&] { return stage.reaped.count(workers.one.pid) != 0; });
  stage.me.Send(workers.two, 100);
}

void PlayReplace(Stage& stage) {
  const Two workers = StartTwo(
      stage,
      [](Actor& me, std::unique_ptr<Worker>& worker) {
        me.Send(TheMaster(), 100);
        // As the successor it finds the other one there.
        if (worker->self().slot != 1) me.Send(SlotTwo(), kTwoPackets);
      },
      OnFlag(0, [](Actor& me, std::unique_ptr<Worker>&) {
        SendSome(me, SlotOne(), {100, kTwoPackets});
      }));
  if (!workers.ok) return;
  stage.Arm();
  SendSome(stage.me, workers.one, {100, kTwoPackets});
  Go(stage, 0);
  if (!stage.Replace(workers.one)) return;
  stage.me.Until("the end of a replacement", [&] { return stage.report.has_value(); });
  if (!stage.report.has_value() || !stage.report->status.ok()) return;
  const std::vector<Replacement>& replaced = stage.report->replaced;
  if (replaced.size() != 1 || replaced[0].old_worker.pid != workers.one.pid ||
      replaced[0].killed_at_deadline || stage.reaped.count(workers.one.pid) == 0)
    return stage.me.Wrong("a replacement that was none");
  stage.started.push_back(replaced[0].successor);
  stage.me.Send(replaced[0].successor, 100);
}

// One leaves by itself, then the other one is killed.
void PlayRetireWithoutLoop(Stage& stage) {
  const Two workers = StartTwo(
      stage,
      [](Actor& me, std::unique_ptr<Worker>& worker) {
        AsleepUntil(2)(me, worker);
        me.Turns(2);
      },
      [](Actor& me, std::unique_ptr<Worker>& worker) {
        SendSome(me, SlotOne(), {100, kTwoPackets});
        me.Request(SlotOne(), 100, 100);
        ++me.ledger()->flags[0];
        while (me.ledger()->flags[1] == 0 && me.ledger()->phase.load() == Phase::kAct) me.Turn();
        ++me.ledger()->flags[0];
        AsleepUntil(3)(me, worker);
      });
  if (!workers.ok) return;
  const auto parts = [&](int count) {
    stage.me.Until("a worker's part", [&] { return stage.ledger()->flags[0] >= count; });
  };
  parts(1);
  stage.Arm();
  // One that can never be told is killed. A master without a loop tries again at each Service().
  const Fault& fault = stage.fault_;
  const bool mute = fault.role == 0 && fault.site == Site::kPwritev2 && fault.for_good;
  const bool retired = stage.Retire(workers.one, mute ? kShort : absl::InfiniteDuration());
  stage.ledger()->flags[2] = 1;
  if (!retired) return;
  stage.me.Until("a retired worker to leave",
                 [&] { return stage.reaped.count(workers.one.pid) != 0; });
  stage.ledger()->flags[1] = 1;
  parts(2);
  if (stage.Retire(workers.two, kShort)) ExpectKilled(stage, workers.two, 3);
}

// Without RWF_NOWAIT, and with O_NONBLOCK of the writing ends cleared by a relative.
void PlayNonblock(Stage& stage) {
  stage.Arm();
  const Two workers = StartTwo(stage);
  if (!workers.ok) return;
  for (int fd = 3; fd < 64; ++fd) {
    const int flags = fcntl(fd, F_GETFL);
    struct stat about = {};
    const bool writes = flags >= 0 && (flags & O_ACCMODE) == O_WRONLY;
    if (writes && fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode))
      fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  stage.me.Send(workers.one, 100);
  stage.me.Send(workers.two, kTwoPackets);
}

// A child's child is not let in.
void PlayGrandchild(Stage& stage) {
  stage.Arm();
  absl::StatusOr<Slot> slot = stage.master->Reserve();
  if (!stage.me.Note(slot.status())) return;
  const pid_t child = os::calls().fork();
  if (child == 0) {
    const pid_t grandchild = os::calls().fork();
    if (grandchild < 0) _exit(0);
    if (grandchild == 0) _exit(stage.Live(std::move(*slot), nullptr, true));
    int status = 0;
    waitpid(grandchild, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
  }
  if (child < 0) {
    stage.me.Note(absl::ResourceExhaustedError(absl::StrCat("fork: ", std::strerror(errno))));
    return;
  }
  int status = 0;
  waitpid(child, &status, 0);
  // 3: refused.
  const bool forked = stage.ledger()->tally.pids[2] != 0;
  if (forked && (!WIFEXITED(status) || WEXITSTATUS(status) != 3))
    stage.me.Wrong("a child's child was let in");
  stage.ledger()->tally.pids[1] = stage.ledger()->tally.pids[2] = 0;
  stage.ledger()->refusals = 0;
  stage.me.Note(stage.master->Cancel(slot->number()));
}

// The workers learn of the master's death, and of each other's without it.
void PlayMasterDies(Stage& stage) {
  const auto part = [](const Peer& other, bool asks) {
    return [other, asks](Actor& me, std::unique_ptr<Worker>& worker) {
      bool gone = false;
      worker->OnMasterGone([&gone] { gone = true; });
      // The master does not answer any more.
      while (me.ledger()->flags[0] == 0) me.Turn();
      if (asks) me.Request(TheMaster(), 100, 100);
      ++me.ledger()->flags[1];
      me.Until("the master's end", [&gone] { return gone; });
      const Pair& pair = me.ledger()->pairs[asks ? 1 : 2][0];
      me.Until("the end of its request", [&pair] { return pair.requests == pair.responses; });
      SendSome(me, other, {100, kTwoPackets});
      me.Request(other, 100, 100);
      me.Turns(2);
      worker->OnMasterGone(nullptr);
      ++me.ledger()->flags[kOrphansReady];
    };
  };
  const Two workers = StartTwo(stage, part(SlotTwo(), true), part(SlotOne(), false));
  if (workers.ok) {
    stage.ledger()->flags[kOrphans] = 2;
    stage.Arm();
    stage.ledger()->flags[0] = 1;
    while (stage.ledger()->flags[1] < 2) usleep(200);
  }
  kill(getpid(), SIGKILL);
}

MasterOptions EventFamily() {
  MasterOptions options = FamilyOf(2);
  options.events.emplace();
  return options;
}

MasterOptions FullFamily() {
  MasterOptions options = FamilyOf(2, 4096);
  options.queued_bytes_per_peer_max = 16384;
  return options;
}

std::vector<Scenario> MakeScenarios() {
  std::vector<Scenario> all;
  const auto add = [&all](const char* name, MasterOptions options, std::function<void(Stage&)> play,
                          MasterIs master = MasterIs::kAttached, KernelIs kernel = KernelIs::kThis,
                          bool from_creation = false) {
    all.push_back({name, options, master, kernel, from_creation, false, std::move(play)});
  };
  add(
      "Create", FamilyOf(2), [](Stage&) {}, MasterIs::kWithoutLoop, KernelIs::kThis, true);
  add(
      "CreateOnAnOldKernel", FamilyOf(2), [](Stage&) {}, MasterIs::kWithoutLoop, KernelIs::kOld,
      true);
  add(
      "Attach", FamilyOf(1),
      [](Stage& stage) {
        stage.Arm();
        stage.Attach();
      },
      MasterIs::kAttachedLater);
  add("Spawn", FamilyOf(1), PlaySpawn);
  add("SendEarly", FamilyOf(1), PlayEarly);
  add("SendSmall", FamilyOf(2), [](Stage& stage) { Exchange(stage, {20, 100, 2000}, false); });
  add("SendSmallLingering", FamilyOf(2), [](Stage& stage) {
    stage.attach.linger = 3;
    Exchange(stage, {20, 100, 2000}, false);
  });
  // Packets of exactly 4096 bytes, one byte less and one more.
  add("SendFillingPackets", FamilyOf(2), [](Stage& stage) {
    Exchange(stage, {1000, 1000, 1000, 1000, 4050, 4051, 4096}, false);
  });
  add("SendLargeLent", FamilyOf(2, 262144), [](Stage& stage) { Exchange(stage, {kLarge}, false); });
  add("SendLargeOwned", FamilyOf(2, 16384), [](Stage& stage) { Exchange(stage, {kMedium}, true); });
  add("Broadcast", FamilyOf(2, 16384), PlayBroadcast);
  add("Request", FamilyOf(2, 16384), PlayRequest);
  add("Gather", FamilyOf(2), PlayGather);
  add("FullPipe", FullFamily(), PlayFull);
  add("Events", EventFamily(), PlayEvents);
  add("Respawn", FamilyOf(2), PlayRespawn);
  add("OwnFork", FamilyOf(2), PlayOwnFork);
  add("WithoutLoop", FamilyOf(2), PlayWithoutLoop, MasterIs::kWithoutLoop);
  add("CloseWithDeadline", FamilyOf(2, 4096), PlayClose);
  add("FamilyStats", FamilyOf(2), PlayStats);
  add("DestroyedInAHandler", FamilyOf(2), PlayDestroyed);
  add("Barrier", FamilyOf(2), PlayBarrier);
  add("RetireKilled", FullFamily(), PlayRetireKilled);
  add("RetireDrains", FamilyOf(2, 4096), PlayRetireDrains);
  add("Replace", FamilyOf(3), PlayReplace);
  add("RetireWithoutLoop", FamilyOf(2), PlayRetireWithoutLoop, MasterIs::kWithoutLoop);
  add("RetireKilledOnAnOldKernel", FullFamily(), PlayRetireKilled, MasterIs::kAttached,
      KernelIs::kOld);
  add("RetireDrainsOnAnOldKernel", FamilyOf(2, 4096), PlayRetireDrains, MasterIs::kAttached,
      KernelIs::kOld);
  add(
      "AttachOnAnOldKernel", FamilyOf(1),
      [](Stage& stage) {
        stage.Arm();
        stage.Attach();
      },
      MasterIs::kAttachedLater, KernelIs::kOld);
  add("NonblockOnAnOldKernel", FamilyOf(2), PlayNonblock, MasterIs::kAttached, KernelIs::kOld);
  add("GrandchildOnAnOldKernel", FamilyOf(1), PlayGrandchild, MasterIs::kWithoutLoop,
      KernelIs::kOld);
  add("LifeOnAnOldKernel", FamilyOf(1), PlayLife, MasterIs::kAttached, KernelIs::kOld);
  for (const KernelIs kernel : {KernelIs::kThis, KernelIs::kOld}) {
    all.push_back({kernel == KernelIs::kThis ? "MasterDies" : "MasterDiesOnAnOldKernel",
                   FamilyOf(2), MasterIs::kAttached, kernel, false, true, PlayMasterDies});
  }
  return all;
}

}  // namespace

const std::vector<Scenario>& Scenarios() {
  static const auto* const all = new std::vector<Scenario>(MakeScenarios());
  return *all;
}

}  // namespace alertpipe::faults
