// SPDX-License-Identifier: Apache-2.0
//
// Death notices (docs/design.md): what a dead worker had begun to send is freed by the notice.
// Claims:
//   1. Nothing of the dead follows their notice, so the notice is never too early.
//   2. It frees what belongs to the dead, never what a successor has begun.
//   3. At rest no half-received alert of a dead worker is left, and every live reader that runs has
//      been told of every death; a notice is neither lost nor late for ever because a pipe is full.
//   4. A reader that is stopped for good keeps no notice from the others.
//   5. It comes to rest; a small state space has no cycle (checked).
// With GARBAGE somebody hostile makes a reader discard what is in its pipe, once, notices included;
// that parts are missing then is no fault. The reader makes up for it: it looks at the roster, and
// acts upon what it saw there once its pipe has been found empty afterwards.
//
// Sender slots have one worker after the other; each sends alerts of two parts to all readers, one
// write a step, and is killed at any step, or ends. The master: down, reap, the board (newest death
// of each slot, for each reader; so notices merge), generation + 1, fork; the board is written to a
// reader's pipe at any time later when there is room, also after the successor has been forked.
// Readers handle one packet a step. With STOPS the last one may be stopped at any step.
//
// Abstracted away: payload, whole alerts (they leave nothing), the readers' own deaths and the
// destination generation (respawn.pml), the drain of the dead sender's own pipe, joins. Bounds: the
// budgets below, pipes of CAPACITY packets.
//
// Names in capitals that are not defined here are the variants that must fail (models.py).

#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef ALERTS
#define ALERTS 1  // of each incarnation
#endif
#ifndef KILLS
#define KILLS 2  // of each sender slot
#endif

#define BIT(i) (1 << (i))

mtype = {kFirst, kLast, kDied};

// slot, generation, part; of kDied: who died, up to which generation.
chan pipe[READERS] = [CAPACITY] of {byte, byte, mtype};

bool alive[SENDERS];
byte generation[SENDERS];  // of the process
byte to[SENDERS], alerts[SENDERS];
bool begun[SENDERS];

// The roster, and the master's board: the newest death of each slot, and who was told of it.
byte published[SENDERS];
bool down[SENDERS];
byte dead_up_to[SENDERS];
byte untold[READERS];  // bits: slots

// The readers.
bool stopped[READERS];
byte collects[READERS * SENDERS];  // the generation of which a first part is there, or 0
byte told_dead[READERS * SENDERS];
#define AT(reader, slot) ((reader) * SENDERS + (slot))

proctype Sender(byte me) {
end:
  do
  :: d_step { alive[me] && !begun[me] && alerts[me] > 0 && nfull(pipe[to[me]]) ->
      pipe[to[me]]!me, generation[me], kFirst;
      begun[me] = true }
  :: d_step { alive[me] && begun[me] && nfull(pipe[to[me]]) ->
      pipe[to[me]]!me, generation[me], kLast;
      begun[me] = false;
      to[me] = (to[me] + 1) % READERS;
      alerts[me] = alerts[me] - (to[me] == 0 -> 1 : 0) }
#ifdef STOPS
  // One receiver that does not read keeps no other waiting.
  :: d_step { alive[me] && !begun[me] && alerts[me] > 0 &&
      full(pipe[to[me]]) && stopped[to[me]] ->
      to[me] = (to[me] + 1) % READERS;
      alerts[me] = alerts[me] - (to[me] == 0 -> 1 : 0) }
#endif
  od
}

inline Free(slot, up_to) {
#ifdef NOTICE_WITHOUT_GENERATION
  collects[AT(me, slot)] = 0;
#else
  collects[AT(me, slot)] = (collects[AT(me, slot)] <= up_to -> 0 : collects[AT(me, slot)]);
#endif
  told_dead[AT(me, slot)] = (told_dead[AT(me, slot)] < up_to -> up_to : told_dead[AT(me, slot)])
}

inline Handle(me) {
  pipe[me]?slot, from, part;
  if
  :: part == kDied -> Free(slot, from)
  :: else ->
    assert(from > told_dead[AT(me, slot)]);  // claim 1
    if
    :: part == kFirst -> collects[AT(me, slot)] = from
    :: part == kLast ->
      assert(collects[AT(me, slot)] == from || damaged);  // claim 2
      collects[AT(me, slot)] = 0
    fi
  fi;
  slot = 0; from = 0; part = 0
}

// What the roster says of the dead of a slot.
#define DeadInRoster(slot) (down[slot] -> published[slot] : published[slot] - 1)

proctype Reader(byte me) {
  byte slot, from, seen[SENDERS];
  mtype part;
  bool damaged, looks, looked;

end:
  do
  :: d_step { !stopped[me] && nempty(pipe[me]) -> Handle(me) }
#ifdef GARBAGE
  :: d_step { !stopped[me] && !damaged && nempty(pipe[me]) ->
      do
      :: nempty(pipe[me]) -> pipe[me]?_, _, _
      :: empty(pipe[me]) -> break
      od;
#ifndef NO_RECHECK
      looks = true;
#endif
      damaged = true }
  :: d_step { !stopped[me] && looks ->
      for (slot : 0 .. SENDERS - 1) { seen[slot] = DeadInRoster(slot) }
      slot = 0; looks = false; looked = true }
#ifdef RECHECK_AT_ONCE
  :: d_step { !stopped[me] && looked ->
#else
  :: d_step { !stopped[me] && looked && empty(pipe[me]) ->
#endif
      for (slot : 0 .. SENDERS - 1) { Free(slot, seen[slot]); seen[slot] = 0 }
      slot = 0; looked = false }
#endif
#ifdef FREES_BY_ROSTER
  :: d_step { !stopped[me] && collects[AT(me, 0)] != 0 &&
      (down[0] || collects[AT(me, 0)] < published[0]) ->
      Free(0, collects[AT(me, 0)]) }
#endif
#ifdef STOPS
  :: d_step { !stopped[me] && me == READERS - 1 -> stopped[me] = true }
#endif
  od
}

inline PutUp(slot) {
  dead_up_to[slot] = generation[slot];
#ifndef NO_NOTICE
  for (i : 0 .. READERS - 1) { untold[i] = untold[i] | BIT(slot) }
  i = 0
#endif
}

// One slot's life, as the master drives it.
proctype Life(byte slot) {
  byte kills = KILLS, i;
  bool ends = false;

end:
  do
  :: atomic { alive[slot] && kills > 0 ->
      kills--;
#ifdef NOTICE_EARLY
      down[slot] = true; PutUp(slot) };
    atomic { alive[slot] = false };
#else
      alive[slot] = false };
    down[slot] = true;
    d_step { PutUp(slot); skip };
#endif
    if
    :: d_step { generation[slot]++; published[slot] = generation[slot]; down[slot] = false };
      d_step { begun[slot] = false; to[slot] = 0; alerts[slot] = ALERTS; alive[slot] = true }
    :: break  // it is not replaced
    fi
  od
}

inline Tell(reader) {
  do
  :: untold[reader] & BIT(slot) -> break
  :: else -> slot++
  od;
#ifdef NOTICE_LOST
  if
  :: nfull(pipe[reader]) -> pipe[reader]!slot, dead_up_to[slot], kDied
  :: full(pipe[reader])
  fi;
#else
  pipe[reader]!slot, dead_up_to[slot], kDied;
#endif
  untold[reader] = untold[reader] & ~BIT(slot);
  slot = 0
}
#ifdef NOTICE_LOST
#define CanTell(reader) (untold[reader] != 0)
#elif defined(ONE_FOR_ALL)
// Waits for the reader before it.
#define CanTell(reader) \
  (untold[reader] != 0 && nfull(pipe[reader]) && untold[READERS - 1 - reader] == 0)
#else
#define CanTell(reader) (untold[reader] != 0 && nfull(pipe[reader]))
#endif

inline CheckRest() {
  for (i : 0 .. READERS - 1) {
    if
    :: !stopped[i] ->
      assert(empty(pipe[i]) && untold[i] == 0);
      for (slot : 0 .. SENDERS - 1) {
        assert(collects[AT(i, slot)] == 0 ||
               (alive[slot] && collects[AT(i, slot)] == generation[slot]));
        assert(told_dead[AT(i, slot)] == dead_up_to[slot]);
        assert(dead_up_to[slot] == (alive[slot] -> generation[slot] - 1 : generation[slot]))
      }
    :: else
    fi
  }
}

proctype Board() {
  byte slot, i;

end:
  do
  :: d_step { CanTell(0) -> Tell(0) }
#if READERS > 1
  :: d_step { CanTell(1) -> Tell(1) }
#endif
  :: atomic { timeout -> CheckRest(); break }
  od
}

init {
  atomic {
    byte i;
    for (i : 0 .. SENDERS - 1) {
      alive[i] = true;
      alerts[i] = ALERTS;
      generation[i] = 1;
      published[i] = 1;
      run Sender(i);
      run Life(i)
    }
    for (i : 0 .. READERS - 1) { run Reader(i) }
    i = 0;
    run Board()
  }
}
