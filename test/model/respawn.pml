// SPDX-License-Identifier: Apache-2.0
//
// How a dead worker is replaced in its slot (docs/design.md): down, reap, drain, generation + 1,
// publish `starting`, fork, publish `up`. Claims:
//   1. No alert reaches another incarnation than the one that it was accepted for.
//   2. None is torn: its last part finds its first, of the same sender's incarnation.
//   3. Between two that both live at rest, accepted = delivered + given back, each once.
//   4. A successor finds at most one stale packet of each sender in its pipe.
//   5. It comes to rest, the slot up, whoever was killed at whatever step, also after failed forks;
//      a small state space has no cycle (checked).
//
// Senders read the roster's word and accept in separate steps, and read it again and write in
// separate steps; a killed sender has a successor at once, with the next source generation. The
// reader empties the pipe with one read (the kernel's short read), then handles packet after
// packet, and may be killed before each.
//
// Abstracted away: payload, pids (so reaping is no step), how senders are replaced, memory order (a
// word is one atomic variable), death notices (notice.pml), draining (drain.pml). Bounds: the
// budgets below; a pipe of CAPACITY packets; alerts of one part or two, one alert a sender at a
// time.
//
// Names in capitals that are not defined here are the variants that must fail (models.py).

#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef ALERTS
#define ALERTS 2  // of each sender slot, over all its incarnations
#endif
#ifndef READER_KILLS
#define READER_KILLS 1
#endif
#ifndef SENDER_KILLS
#define SENDER_KILLS 1  // of each sender
#endif
#ifndef FAILED_FORKS
#define FAILED_FORKS 1
#endif

mtype = {kStarting, kUp, kDown};
mtype = {kWhole, kFirst, kLast};
mtype = {kIdle, kAccepts, kQueued, kWrites};

// The roster's word of the reader's slot. Not part of it: `life` counts the incarnations truly.
mtype word = kUp;
byte generation = 1;
byte life = 1;

// source, source generation, destination generation, part; the incarnation that it is meant for.
chan pipe = [CAPACITY] of {byte, byte, byte, mtype, byte};
bool cut;  // the pipe begins in the middle of a packet

// The reader.
bool alive = true;
byte own_generation = 1, own_life = 1;
chan buffer = [CAPACITY] of {byte, byte, byte, mtype, byte};
byte collects[SENDERS];  // the sender's generation whose first part is there, or 0

// The senders, and for claim 3 what is due from each to the incarnation that it sent to last.
byte sender_generation[SENDERS];
byte due[SENDERS], due_life[SENDERS];
bool busy[SENDERS];

#define Lives(w) ((w) == kStarting || (w) == kUp)

#ifdef NO_DESTINATION_GENERATION
#define MeantForMe(g) true
#else
#define MeantForMe(g) ((g) == own_generation)
#endif

proctype Sender(byte me) {
  mtype at = kIdle, seen, part;
  byte alerts = ALERTS, kills = SENDER_KILLS, to, seen_generation, seen_life, to_life;

end:
  do
  // A send.
  :: d_step { at == kIdle && alerts > 0 ->
      alerts--;
      seen = word; seen_generation = generation; seen_life = life;
      at = kAccepts }
  :: atomic { at == kAccepts ->
      if
      :: Lives(seen) ->
        to = seen_generation;
        to_life = seen_life;
        due[me] = (due_life[me] == to_life -> due[me] + 1 : 1);
        due_life[me] = to_life;
        at = kQueued;
        busy[me] = true;
        if
        :: part = kWhole
        :: part = kFirst
        fi
      :: else -> at = kIdle
      fi;
      seen = 0; seen_generation = 0; seen_life = 0 }
  // A flush: the word is read again, then comes the write.
  :: d_step { at == kQueued && (nfull(pipe) || !Lives(word) || generation != to) ->
      if
      :: Lives(word) && generation == to -> at = kWrites
      :: else ->
        due[me]--;  // given back
        at = kIdle; busy[me] = false; to = 0; to_life = 0; part = 0
      fi }
  :: d_step { at == kWrites ->
      if
      :: full(pipe) -> at = kQueued
      :: nfull(pipe) ->
        pipe!me, sender_generation[me], to, part, to_life;
        if
        :: part == kFirst -> part = kLast; at = kQueued
        :: else -> at = kIdle; busy[me] = false; to = 0; to_life = 0; part = 0
        fi
      fi }
  :: d_step { kills > 0 && (at != kIdle || alerts > 0) ->
      kills--;
      sender_generation[me]++;
      due[me] = 0; due_life[me] = 0;
      at = kIdle; busy[me] = false;
      to = 0; to_life = 0; part = 0; seen = 0; seen_generation = 0; seen_life = 0 }
  od
}

inline Deliver() {
  assert(for_life == own_life);  // claim 1
  if
  :: from_generation == sender_generation[from] && due_life[from] == for_life ->
    assert(due[from] > 0);  // claim 3: not twice
    due[from]--
  :: else
  fi
}

inline Handle() {
  buffer?from, from_generation, for_generation, part, for_life;
  if
  :: MeantForMe(for_generation) ->
    if
    :: part == kFirst -> collects[from] = from_generation
    :: part == kLast ->
      assert(collects[from] == from_generation);  // claim 2
      collects[from] = 0;
      Deliver()
    :: part == kWhole ->
      collects[from] = 0;
      Deliver()
    fi
  :: else  // stale: counted, and dropped
  fi;
  from = 0; from_generation = 0; for_generation = 0; for_life = 0; part = 0
}

proctype Reader() {
  byte kills = READER_KILLS;
  byte from, from_generation, for_generation, for_life;
  mtype part;

end:
  do
#ifdef READS_PIECEWISE
  // The header first, then the rest.
  :: d_step { alive && nempty(pipe) && nfull(buffer) && !cut -> cut = true }
  :: d_step { alive && cut ->
      pipe?from, from_generation, for_generation, part, for_life;
      buffer!from, from_generation, for_generation, part, for_life;
      cut = false;
      from = 0; from_generation = 0; for_generation = 0; for_life = 0; part = 0 }
#else
  :: d_step { alive && nempty(pipe) && empty(buffer) ->
      do
      :: nempty(pipe) ->
        pipe?from, from_generation, for_generation, part, for_life;
        buffer!from, from_generation, for_generation, part, for_life
      :: empty(pipe) -> break
      od;
      from = 0; from_generation = 0; for_generation = 0; for_life = 0; part = 0 }
#endif
  :: d_step { alive && nempty(buffer) -> Handle() }
  :: d_step { alive && kills > 0 ->
      do
      :: nempty(buffer) -> buffer?_, _, _, _, _
      :: empty(buffer) -> break
      od;
      kills--;
      alive = false }
  :: atomic { kills > 0 -> kills = 0 }
  od
}

inline Drain() {
  d_step {
    do
    :: nempty(pipe) -> pipe?_, _, _, _, _
    :: empty(pipe) -> break
    od;
    cut = false
  }
}

// Claim 4.
inline CountStale() {
  d_step {
    for (i : 1 .. len(pipe)) {
      pipe?from, from_generation, for_generation, part, for_life;
      pipe!from, from_generation, for_generation, part, for_life;
      stale[from] = stale[from] + (for_life == life -> 0 : 1)
    }
    for (i : 0 .. SENDERS - 1) {
      assert(stale[i] <= 1);
      stale[i] = 0
    }
    i = 0; from = 0; from_generation = 0; for_generation = 0; for_life = 0; part = 0
  }
}

// Claims 3 and 5, when nothing can happen any more.
inline CheckRest() {
  assert(alive && word == kUp && empty(pipe) && empty(buffer));
  for (i : 0 .. SENDERS - 1) {
    assert(!busy[i]);
    assert(due_life[i] != life || due[i] == 0)
  }
}

proctype Master() {
  byte failed_forks = FAILED_FORKS, i, stale[SENDERS];
  byte from, from_generation, for_generation, for_life;
  mtype part;

end:
  do
  :: !alive ->
#ifndef PUBLISH_BEFORE_DOWN
    word = kDown;
#endif
  again:
    skip;
#if !defined(NO_DRAIN) && !defined(LATE_DRAIN) && !defined(DRAIN_AFTER_FORK) && \
    !defined(PUBLISH_BEFORE_DOWN)
    Drain();
#endif
    d_step {
      life++;
#ifndef GENERATION_KEPT
      generation++;
#endif
      word = kStarting
    };
#ifdef PUBLISH_BEFORE_DOWN
    word = kDown;
    Drain();
    word = kStarting;
#endif
#ifdef LATE_DRAIN
    Drain();
#endif
    if
    :: atomic { failed_forks > 0 ->
        failed_forks--;
        word = kDown;
#ifdef FAILED_FORK_KEEPS_GENERATION
        generation--
#endif
      };
      goto again
    :: atomic {
        assert(!cut);  // claim 2: it begins with a whole packet
        CountStale();
        alive = true; own_generation = generation; own_life = life;
        for (i : 0 .. SENDERS - 1) { collects[i] = 0 }
        i = 0 }
    fi;
#ifdef DRAIN_AFTER_FORK
    Drain();
#endif
    word = kUp
  :: atomic { timeout -> CheckRest(); break }
  od
}

init {
  atomic {
    byte i;
    for (i : 0 .. SENDERS - 1) {
      sender_generation[i] = 1;
      run Sender(i)
    }
    i = 0;
    run Reader();
    run Master()
  }
}
