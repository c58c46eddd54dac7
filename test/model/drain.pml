// SPDX-License-Identifier: Apache-2.0
//
// How an old worker leaves in a rolling restart (docs/design.md): the word `draining`, the master's
// notice, round 1 (a barrier), its own requests, round 2 (a barrier that closes each direction),
// the exit. Claims:
//   1. One that exits by itself has handled all that anybody accepted for it: the living, itself,
//      and the dead as far as they had written it; and all that it accepted itself has been
//      written.
//   2. What was sent to it by one who had not seen the word yet finds a worker that may still send.
//   3. No request ends by the exit: those to it are responded to, those of its own have ended.
//   4. If everybody runs, it ends: also two at a time, also if others die at any step or a fork
//      fails. If somebody is stopped for good, the master's deadline ends it, and nobody else is
//      stuck.
//
// One process of the model is one process of the family; one step is what it does between two
// system calls. Workers 0 to DRAINS - 1 are to leave. The last one is there from the beginning, or,
// with LATE, is started at any time in the course of it. An attached master is to the protocol a
// worker that does not die. The small state spaces have no cycle (checked), so it ends if it
// comes to rest only where CheckRest holds.
//
// Abstracted away: payload and parts (respawn.pml), merging of notices (notice.pml), generations:
// here each slot lives once. Deadlines of requests: who never responds meets the master's deadline.
// Rejects and joins. A look at the roster and the write that follows are one step (they are two in
// respawn.pml), and a list of the living is made at one instant. Queued packets leave in the order
// in which they were accepted, acknowledgements among them; the library's may leave later than
// that. Bounds: the budgets below, pipes of CAPACITY packets, N workers.
//
// Names in capitals that are not defined here are the variants that must fail (models.py).

#ifndef N
#define N 2
#endif
#ifndef DRAINS
#define DRAINS 1
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
// What everybody together may do: sends by slot, pid, any or broadcast to those that leave; sends
// to their Peer; sends of theirs to the last worker; requests to a Peer; barriers of the last
// worker's application; deaths and failed forks.
#ifndef NEWS
#define NEWS 1
#endif
#ifndef REPLIES
#define REPLIES 1
#endif
#ifndef LASTS
#define LASTS 0
#endif
#ifndef REQUESTS
#define REQUESTS 1
#endif
#ifndef BARRIERS
#define BARRIERS 0
#endif
#ifndef CRASHES
#define CRASHES 0
#endif

#define LAST (N - 1)
#define PAIR(from, to) ((from) * N + (to))
#define BIT(i) (1 << (i))

mtype = {kNew, kReply, kRequest, kResponse, kBarrier, kFinal, kAcknowledge, kDied, kDraining};
mtype = {kFree, kStarting, kUp, kOld, kDown};
mtype = {kWorks, kTold, kRound1, kSettles, kRound2, kGone};

// Shared: the roster and the pipes. The second field of a packet is who sent it, or who died.
mtype word[N];
chan pipe[N] = [CAPACITY] of {mtype, byte};

// The master's board, for each reader: whose death, and whether it is to drain.
byte died_for[N];
bool drain_for[N];

// The workers. Each reads and writes its own only; sets of workers are bits.
bool alive[N];
bool stopped[N];
mtype phase[N];
bool closing[N];                          // refuses own sends
byte waits_for[N];                        // have not acknowledged
byte closed[N];                           // those directions are closed for good
byte strange[N];                          // were draining when this one came, and silent since
byte asked[N];                            // requests that are open
byte token[N];                            // requests that are held, to be responded to
chan queue[N * N] = [6] of {mtype};       // accepted, not written; control is outside the caps

// For the claims: what is accepted and neither handled nor given back; alerts in the pipe.
byte due[N * N];
byte inside[N];

byte news = NEWS, replies = REPLIES, lasts = LASTS, requests = REQUESTS, barriers = BARRIERS;
byte crashes;

#define Lives(w) ((w) == kStarting || (w) == kUp || (w) == kOld)
#define TakesAlerts(w) ((w) == kStarting || (w) == kUp)
#define IsAlert(k) ((k) == kNew || (k) == kReply || (k) == kRequest || (k) == kResponse)
#define Runs(i) (alive[i] && !stopped[i])

// ---- The variants ----

#ifdef LIST_UP_ONLY
#define Listed(w) TakesAlerts(w)
#else
#define Listed(w) Lives(w)
#endif
#ifdef NO_SELF
#define MayAsk(self, i) ((i) != (self))
#else
#define MayAsk(self, i) true
#endif
#ifdef NO_SETTLE
#define Settled(self) true
#else
#define Settled(self) (asked[self] == 0 && token[self] == 0)
#endif
#ifdef EXIT_WITH_TOKENS
#define NoTokens(self) true
#else
#define NoTokens(self) (token[self] == 0)
#endif
#ifdef EXIT_UNWRITTEN
#define AllWritten(self) true
#elif N == 2
#define AllWritten(self) (empty(queue[PAIR(self, 0)]) && empty(queue[PAIR(self, 1)]))
#else
#define AllWritten(self) \
  (empty(queue[PAIR(self, 0)]) && empty(queue[PAIR(self, 1)]) && empty(queue[PAIR(self, 2)]))
#endif
#ifdef NO_STRANGERS
#define Stranger(self, to) false
#else
#define Stranger(self, to) (strange[self] & BIT(to))
#endif
#ifdef NOTICES_SKIP_DRAINING
#define Hears(w) TakesAlerts(w)
#else
#define Hears(w) Lives(w)
#endif
#define MaySend(self, to) (!closing[self] && !(closed[self] & BIT(to)))
#define MayReply(self, to) (Lives(word[to]) && MaySend(self, to) && !Stranger(self, to))

// ---- A worker ----

inline Accept(a, b, what) {
  // Who has gone by itself leaves nobody behind who could still send to it.
  assert(phase[b] != kGone);
  due[PAIR(a, b)]++;
  queue[PAIR(a, b)]!what
}

inline FailBack(a, b) {
  do
  :: nempty(queue[PAIR(a, b)]) ->
    queue[PAIR(a, b)]?kind;
    if
    :: IsAlert(kind) -> due[PAIR(a, b)]--
    :: else
    fi
  :: empty(queue[PAIR(a, b)]) -> break
  od
}

// Puts a record behind all that is queued for each who lives, or for those of the last list.
inline Ask(self, what, again) {
  for (i : 0 .. N - 1) {
    if
    :: (again -> (list & BIT(i)) : Listed(word[i])) && MayAsk(self, i) ->
      list = list | BIT(i);
      queue[PAIR(self, i)]!what
    :: else
    fi
  }
  waits_for[self] = list;
  i = 0
}

inline Acknowledge(self) {
  queue[PAIR(self, from)]!kAcknowledge;
#ifdef ACK_OVERTAKES
  for (i : 2 .. len(queue[PAIR(self, from)])) {
    queue[PAIR(self, from)]?kind;
    queue[PAIR(self, from)]!kind
  }
  i = 0
#endif
}

inline HandleControl(self) {
  if
  :: kind == kBarrier -> Acknowledge(self)
  :: kind == kFinal ->
#ifndef KEEPS_OPEN
    closed[self] = closed[self] | BIT(from);
#endif
    Acknowledge(self)
  :: kind == kAcknowledge ->
#ifdef CONTROL_OPENS
    strange[self] = strange[self] & ~BIT(from);
#endif
    if
    :: phase[self] == kRound1 || phase[self] == kRound2 ->
      waits_for[self] = waits_for[self] & ~BIT(from)
    :: else  // the application's
    fi
  :: kind == kDied ->
    FailBack(self, from);
    asked[self] = asked[self] & ~BIT(from);
    token[self] = token[self] & ~BIT(from);
    waits_for[self] = waits_for[self] & ~BIT(from)
  :: kind == kDraining -> phase[self] = kTold
  fi
}

inline Handle(self) {
  pipe[self]?kind, from;
  if
  :: IsAlert(kind) ->
    due[PAIR(from, self)]--;
    inside[self]--;
    strange[self] = strange[self] & ~BIT(from);
    if
    :: kind == kNew -> assert(!closing[self])  // claim 2: its handler may want to send
    :: kind == kRequest -> token[self] = token[self] | BIT(from)
    :: kind == kResponse -> asked[self] = asked[self] & ~BIT(from)
    :: else
    fi
  :: else -> HandleControl(self)
  fi;
  kind = 0; from = 0
}

inline Write(self, b) {
  if
  :: !Lives(word[b]) ->
#ifdef SETTLE_BY_ROSTER
    waits_for[self] = waits_for[self] & ~BIT(b);
#endif
    FailBack(self, b)
  :: else ->
    queue[PAIR(self, b)]?kind;
    if
    :: IsAlert(kind) -> inside[b]++
    :: else
    fi;
    pipe[b]!kind, self
  fi;
  kind = 0
}
#define CanWrite(self, b) \
  (Runs(self) && nempty(queue[PAIR(self, b)]) && (!Lives(word[b]) || nfull(pipe[b])))

inline Go(self) {
  assert(inside[self] == 0);  // claim 1, with the next two
  for (i : 0 .. N - 1) {
    assert(!alive[i] || due[PAIR(i, self)] == 0);
    assert(!alive[i] || empty(queue[PAIR(self, i)]));
    assert(!alive[i] || !(token[self] & BIT(i)));  // claim 3
    assert(!alive[i] || !(asked[self] & BIT(i)))
  }
  i = 0;
  phase[self] = kGone;
  alive[self] = false
}

proctype Worker(byte me) {
  mtype kind;
  byte to, from, i, list;
  bool may;

  d_step {
    for (i : 0 .. N - 1) { strange[me] = strange[me] | (word[i] == kOld -> BIT(i) : 0) }
    i = 0
  }
end:
  do
  :: d_step { Runs(me) && nempty(pipe[me]) -> Handle(me) }
  :: d_step { CanWrite(me, 0) -> Write(me, 0) }
  :: d_step { CanWrite(me, 1) -> Write(me, 1) }
#if N > 2
  :: d_step { CanWrite(me, 2) -> Write(me, 2) }
#endif

  // A send reads the roster's word, then accepts; it does nothing else between the two.
  :: atomic { Runs(me) && news > 0 && !closing[me] -> news--; select(to : 0 .. DRAINS - 1);
      may = TakesAlerts(word[to]) && MaySend(me, to) };
    end_new: d_step { !stopped[me] ->
      if
      :: alive[me] && may -> Accept(me, to, kNew)
      :: else
      fi;
      to = 0; may = false }
  :: atomic { Runs(me) && replies > 0 && !closing[me] -> replies--; select(to : 0 .. DRAINS - 1);
      may = MayReply(me, to) };
    end_reply: d_step { !stopped[me] ->
      if
      :: alive[me] && may -> Accept(me, to, kReply)
      :: else
      fi;
      to = 0; may = false }
  :: d_step { Runs(me) && me < DRAINS && lasts > 0 &&
      TakesAlerts(word[LAST]) && MaySend(me, LAST) ->
      lasts--; Accept(me, LAST, kNew) }
  :: atomic { Runs(me) && requests > 0 && !closing[me] -> requests--; select(to : 0 .. N - 1);
      if
      :: to != me && MayReply(me, to) ->
        Accept(me, to, kRequest);
        asked[me] = asked[me] | BIT(to)
      :: else
      fi;
      to = 0 }
  :: d_step { Runs(me) && token[me] != 0 ->
      do
      :: token[me] & BIT(to) -> break
      :: else -> to++
      od;
      token[me] = token[me] & ~BIT(to);
      if
      :: Lives(word[to]) && !(closed[me] & BIT(to)) -> Accept(me, to, kResponse)
      :: else
      fi;
      to = 0 }
  :: d_step { Runs(me) && barriers > 0 && me == LAST && Lives(word[0]) ->
      barriers--; queue[PAIR(me, 0)]!kBarrier }

  // Leaving: the hook has ended the application's work.
  :: d_step { Runs(me) && phase[me] == kTold ->
#ifdef ONE_ROUND
      phase[me] = kSettles
#else
      phase[me] = kRound1; Ask(me, kBarrier, false)
#endif
    }
  :: d_step { Runs(me) && phase[me] == kRound1 && waits_for[me] == 0 -> phase[me] = kSettles }
  :: d_step { Runs(me) && phase[me] == kSettles && Settled(me) ->
      phase[me] = kRound2;
#ifndef NO_ROUND2
      closing[me] = true;
#ifdef OLD_LIST
      Ask(me, kFinal, true)
#else
      list = 0; Ask(me, kFinal, false)
#endif
#endif
    }
  :: d_step { Runs(me) && phase[me] == kRound2 && waits_for[me] == 0 &&
      NoTokens(me) && AllWritten(me) ->
      Go(me); list = 0 }
  :: !alive[me] -> break
  od
}

// ---- The master ----

// The pipe of a dead worker is drained, and its death put up for everybody who lives.
inline Bury(about) {
  do
  :: nempty(pipe[about]) -> pipe[about]?_, _
  :: empty(pipe[about]) -> break
  od;
  for (i : 0 .. N - 1) {
    died_for[i] = died_for[i] | (i != about && Hears(word[i]) -> BIT(about) : 0)
  }
  i = 0;
  inside[about] = 0
}

inline Tell(reader) {
  do
  :: died_for[reader] & BIT(i) -> break
  :: else -> i++
  od;
  pipe[reader]!kDied, i;
  died_for[reader] = died_for[reader] & ~BIT(i);
  i = 0
}
#define CanTell(reader) (Lives(word[reader]) && nfull(pipe[reader]) && died_for[reader] != 0)

inline TellDraining(reader) {
#ifdef NOTICE_LOST
  if
  :: nfull(pipe[reader]) -> pipe[reader]!kDraining, 0
  :: full(pipe[reader])
  fi;
#else
  pipe[reader]!kDraining, 0;
#endif
  drain_for[reader] = false
}
#ifdef NOTICE_LOST
#define CanTellDraining(reader) drain_for[reader]
#else
#define CanTellDraining(reader) (Lives(word[reader]) && nfull(pipe[reader]) && drain_for[reader])
#endif

// Nothing can happen any more.
inline CheckRest() {
  for (i : 0 .. N - 1) {
    assert(i >= DRAINS || word[i] == kDown);
    assert(alive[i] || !Lives(word[i]));
    if
    :: Runs(i) ->
      assert(empty(pipe[i]) && token[i] == 0);
      for (j : 0 .. N - 1) {
        assert(stopped[j] || empty(queue[PAIR(i, j)]));
        assert(stopped[j] || !(asked[i] & BIT(j)));
        assert(!Runs(j) || due[PAIR(i, j)] == 0);
        // Nothing is missing from who has gone by itself.
        assert(phase[j] != kGone || due[PAIR(j, i)] == 0)
      }
    :: else
    fi
  }
}

proctype Master() {
  byte i, j, retired;
#ifdef LATE
  bool started;
#endif
end:
  do
#ifdef TELL_FIRST
  :: atomic { retired < DRAINS && word[retired] == kUp && nfull(pipe[retired]) ->
      pipe[retired]!kDraining, 0 };
    atomic { word[retired] = (word[retired] == kUp -> kOld : word[retired]); retired++ }
#else
  :: atomic { retired < DRAINS && word[retired] == kUp -> word[retired] = kOld };
    atomic { drain_for[retired] = true; retired++ }
#endif
  :: atomic { retired < DRAINS && word[retired] == kDown -> retired++ }

#ifdef LATE
  :: atomic { !started -> started = true; word[LAST] = kStarting };
    if
    :: atomic { alive[LAST] = true; run Worker(LAST) };
      word[LAST] = kUp
    :: atomic { crashes > 0 -> crashes--; word[LAST] = kDown };
      d_step { Bury(LAST) }
    fi
#endif

  :: atomic { !alive[0] && Lives(word[0]) -> word[0] = kDown };
    d_step { Bury(0) }
  :: atomic { !alive[1] && Lives(word[1]) -> word[1] = kDown };
    d_step { Bury(1) }
  :: d_step { CanTell(0) -> Tell(0) }
  :: d_step { CanTell(1) -> Tell(1) }
#if N > 2
  :: atomic { !alive[2] && Lives(word[2]) -> word[2] = kDown };
    d_step { Bury(2) }
  :: d_step { CanTell(2) -> Tell(2) }
#endif
  :: d_step { CanTellDraining(0) -> TellDraining(0) }
  :: d_step { CanTellDraining(1) -> TellDraining(1) }

  // Death, or the master's deadline, at any time.
#if CRASHES > 0
  :: atomic { crashes > 0 && alive[0] -> crashes--; alive[0] = false }
  :: atomic { crashes > 0 && alive[1] -> crashes--; alive[1] = false }
#if N > 2
  :: atomic { crashes > 0 && alive[2] -> crashes--; alive[2] = false }
#endif
#endif
#ifdef STOPS
  :: atomic { !stopped[0] && !stopped[1] && alive[0] -> stopped[0] = true }
  :: atomic { !stopped[0] && !stopped[1] && alive[1] -> stopped[1] = true }
#endif

  :: atomic { timeout ->
      if
      // The deadline: needed only where somebody is stopped.
      :: (stopped[0] || stopped[1]) && alive[0] && word[0] == kOld -> alive[0] = false
#if DRAINS > 1
      :: (stopped[0] || stopped[1]) && alive[1] && word[1] == kOld -> alive[1] = false
#endif
      :: else -> CheckRest(); retired = 255
      fi }
  :: atomic { retired == 255 -> break }
  od
}

init {
  atomic {
    byte i;
    for (i : 0 .. N - 1) { phase[i] = kWorks; word[i] = kUp; alive[i] = true }
#ifdef LATE
    word[LAST] = kFree;
    alive[LAST] = false;
#endif
    for (i : 0 .. N - 1) {
      if
      :: alive[i] -> run Worker(i)
      :: else
      fi
    }
    select(crashes : 0 .. CRASHES);
    i = 0;
    run Master()
  }
}
