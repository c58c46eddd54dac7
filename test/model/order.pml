// SPDX-License-Identifier: Apache-2.0
//
// The one order of ordered events (docs/events.md, lib/core/events/order_*.h): write, then claim.
// Claims:
//   1. Any two receivers that both get two events get them in the same order.
//   2. Each event comes out at each receiver at most once, as an event or as a gap, and in its
//      place among its publisher's.
//   3. What comes out as an event has been claimed; what is withdrawn has not.
//   4. What was accepted for a receiver and claimed comes out there as an event. It is a gap only
//      if it was refused, or not written when its publisher's patience ended, or if the ring has
//      run over there.
//   5. Nobody waits for anybody. Whoever was killed or stopped for good at whatever step: those
//      that run end with all their own events claimed, all of each other's told, nothing held of
//      the dead, and of the stopped all handed out that was written before it was claimed. Small
//      state spaces have no cycle (checked).
//
// Processes 0 and 1 publish and receive, the others receive. A step is one access to shared memory
// or one write or read of a pipe, with what the process does by itself until the next:
//
//   publish -> write to each -> (patience) -> tail, look, check, swap, move -> tell each
//   read all that is in the pipe -> has read, settle the tail -> the places, one by one
//
// A packet is all that is queued for its receiver, or with ONE_EACH one record; writes wait for
// nothing but room in that pipe. Patience ends at any time while a pipe is full. A death: the
// process stops, the master puts its word down and drains its pipe, then writes the notice into
// each pipe when there is room, behind all that the dead had written. Whoever holds something looks
// at the ring again after a while: here at any time, if there is something to see.
//
// With APART each access to the ring is a step of its own (with CLAIM_APART those of a claim), and
// a process publishes, writes and claims between a read and its look. Without it tail and word are
// looked at in one step, all places that are below a tail in the step that has seen that tail
// (unless the ring runs over they do not change any more), and events are published when a claim is
// done or waits: earlier than in the midst of writes, which nobody can tell. Always one step: a
// turn's first look at tail and word, the looks at a death, at a notice of claims and when one
// publishes, and RunOver.
//
// Abstracted away: generations (each slot lives once), low bits of numbers and laps, events that
// are not ordered beside gaps, the caps of queues (a refusal is a budget, and its gap is queued at
// once), drains, callbacks. Bounds: the budgets below, pipes of CAPACITY packets.
//
// Names in capitals that are not defined here are the variants that must fail (models.py).

#ifndef N
#define N 3
#endif
#ifndef EVENTS0
#define EVENTS0 1  // of process 0; at most 3
#endif
#ifndef EVENTS1
#define EVENTS1 1
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef PLACES
#define PLACES 8  // more than are claimed; with fewer the ring runs over
#endif
#ifndef REFUSALS
#define REFUSALS 0  // of copies for the last process
#endif
#ifndef PATIENCE
#define PATIENCE 0  // how often it ends, for all together
#endif
// Bits: who is killed, and who is stopped for good, at some step; the last one is when all rests.
#ifndef KILLED
#define KILLED 0
#endif
#ifndef STOPPED
#define STOPPED 0
#endif

#define PUBLISHERS 2
#define LAST (N - 1)
#define NUMBERS 3
#define RECORDS 6  // of one publisher
#define BIT(i) (1 << (i))
#define UP_TO(number) (BIT(number) - 1)  // bits of numbers
#define EVENT(by, number) ((by) * NUMBERS + (number) - 1)
#define EventsOf(p) ((p) == 0 -> EVENTS0 : ((p) == 1 -> EVENTS1 : 0))

mtype = {kIdle, kTail, kLook, kCheck, kSwap, kMove,          // of a claim
         kTurn, kSettle, kHelp, kMoved, kPlace, kPlaceTail};  // of a turn: the tail, the places

// ---- Shared ----

// A word is lap, slot, count and last; 0: never taken.
#define WORD(lap, slot, count, last) ((lap) << 5 | (slot) << 4 | (count) << 2 | (last))
#define LAP_IN(word) ((word) >> 5)
#define SLOT_IN(word) ((word) >> 4 & 1)
#define COUNT_IN(word) ((word) >> 2 & 3)
#define LAST_IN(word) ((word) & 3)
#define STANDS_IN(word) (UP_TO(LAST_IN(word)) & ~UP_TO(LAST_IN(word) - COUNT_IN(word)))
#define LapOf(place) ((place) / PLACES + 1)
#define Word(place) ring[(place) % PLACES]
#define Taken(word, place) (LAP_IN(word) == LapOf(place))

byte ring[PLACES];
byte tail;

// What each publisher sends: a number is an event, with CLAIMED added it is a notice that events up
// to it have places. A packet holds the records up to one of these, from where the last one ended.
#define CLAIMED 4
byte records[PUBLISHERS * RECORDS];
#define RECORD(by, i) records[(by) * RECORDS + (i)]

// Who, and how many records up to the end of this packet; 0 records: who has died.
chan pipe[N] = [CAPACITY] of {byte, byte};

// Bits of processes, and the master's board: of whose death each has to be told.
byte alive, stopped, down;
byte untold[N];
#define Lives(i) (alive & BIT(i))
#define Runs(i) (alive & ~stopped & BIT(i))

// ---- For the claims ----

byte place_of[PUBLISHERS * NUMBERS];  // counted from 1; 0: not claimed
byte after[PUBLISHERS * NUMBERS];     // bits of events that somebody has got after this one
byte due[N];                          // bits of events: have to come out as events
byte refused[PUBLISHERS];             // bits of numbers, for the last process
bool overran[N];

byte refusals = REFUSALS, patience = PATIENCE;

#define Refused(by, number, to) ((to) == LAST && (refused[by] & BIT((number) - 1)))

// ---- The variants ----

#ifdef CLAIM_FIRST
#define HasLeftFor(b, number) true
#else
#define HasLeftFor(b, number) (!(unwritten[b] & UP_TO(number)) || (lags & BIT(b)))
#endif
#ifdef NO_HELP
#define HelpsWith(word, place) false
#else
#define HelpsWith(word, place) Taken(word, place)
#endif
#ifdef NO_DEADLINE
#define RingHasNews() false
#else
#define RingHasNews() (tail > limit || HelpsWith(Word(tail), tail))
#endif
#ifdef WAITS_FOR_MISSING
#define IsProven() false
#elif defined(NO_READ)
#define IsProven() true
#else
#define IsProven() (next < proven)
#endif
#ifdef NO_CHECK
#define StillThere() true
#else
#define StillThere() (tail == place)
#endif
#ifdef NO_COMPARE
#define Unchanged() true
#else
#define Unchanged() (Word(place) == found)
#endif

// ---- What comes out ----

inline TellOne(by, n) {
  assert(told[by] < BIT(n - 1));  // claim 2
  told[by] = told[by] | BIT(n - 1)
}

inline Deliver(by, n) {
  assert(place_of[EVENT(by, n)] != 0);  // claim 3
  for (j : 0 .. PUBLISHERS * NUMBERS - 1) {
    if
    :: delivered & BIT(j) ->
      assert(!(after[EVENT(by, n)] & BIT(j)));  // claim 1
      after[j] = after[j] | BIT(EVENT(by, n))
    :: else
    fi
  }
  j = 0;
  TellOne(by, n);
  delivered = delivered | BIT(EVENT(by, n));
  due[me] = due[me] & ~BIT(EVENT(by, n))
}

inline Late(by, n) {
#ifdef LATE_DELIVERED
  Deliver(by, n)
#else
  assert(!(due[me] & BIT(EVENT(by, n))));  // claim 4
  assert(place_of[EVENT(by, n)] != 0 || overran[me]);
  TellOne(by, n)
#endif
}

inline Withdraw(by, n) {
  assert(place_of[EVENT(by, n)] == 0)  // claim 3
}

// ---- The book ----

#define Holds(by) (events[by] != 0 || gaps[by] != 0)
#define HoldsAny() (Holds(0) || Holds(1))

// The first of what is held of a publisher: numbers go up.
inline Front(by) {
  number = 1;
  do
  :: (events[by] | gaps[by]) & BIT(number - 1) -> break
  :: else -> number++
  od;
  is_gap = (gaps[by] & BIT(number - 1)) != 0
}

inline PopFront(by) {
  events[by] = events[by] & ~BIT(number - 1);
  gaps[by] = gaps[by] & ~BIT(number - 1)
}

inline Lose(by) {
  losing_items[by] = 0;
  for (j : 0 .. NUMBERS - 1) {
    losing_items[by] = losing_items[by] + ((events[by] | gaps[by]) & BIT(j) -> 1 : 0)
  }
  j = 0
}

#define Settle() tail = tail + (HelpsWith(Word(tail), tail) -> 1 : 0)

inline RunOver() {
  overran[me] = true;
  due[me] = 0;
  Settle();
  next = tail; limit = tail; proven = tail; seen = tail;
  losing = true;
  losing_read = fresh;
  for (p : 0 .. PUBLISHERS - 1) {
    passed[p] = 0;
#ifndef KEEPS_AFTER_OVERRUN
    Lose(p)
#endif
  }
  p = 0
}

#define Said(by) (said[by] != 0 && next >= said_before[by])
#define SaidOfFront(by) (Said(by) && number <= said[by])
#define Gone(by) ((dead & BIT(by)) && next >= dead_before[by])
// Whether others may have got an event of the dead.
#define MayHavePassed(by) (passed[by] == 0 -> overran[me] : passed[by] >= number)

inline NextSettledOf(by) {
  do
  :: Holds(by) ->
    Front(by);
    if
    :: losing_items[by] == 0 && !Gone(by) && !SaidOfFront(by) && !(is_gap && Said(by)) -> break
    :: else
    fi;
    PopFront(by);
    if
    :: is_gap -> TellOne(by, number)
    :: !is_gap && (losing_items[by] > 0 || SaidOfFront(by) || MayHavePassed(by)) ->
      Late(by, number)
    :: else -> Withdraw(by, number)
    fi;
    losing_items[by] = losing_items[by] - (losing_items[by] > 0 -> 1 : 0)
  :: else -> break
  od;
  if
  :: Said(by) || Gone(by) -> said[by] = 0; said_before[by] = 0
  :: else
  fi;
  if
  :: Gone(by) -> dead = dead & ~BIT(by); dead_before[by] = 0
  :: else
  fi
}

// What comes out beside places.
inline NextSettled() {
  NextSettledOf(0);
  NextSettledOf(1);
  number = 0; is_gap = false
}

inline NextOfPlace(by) {
  do
  :: Holds(by) ->
    Front(by);
    if
    :: !is_gap && number > LAST_IN(found) -> break
    :: else
    fi;
    PopFront(by);
    if
    :: is_gap -> TellOne(by, number)
    :: !is_gap && number + COUNT_IN(found) <= LAST_IN(found) -> Late(by, number)
    :: else -> Deliver(by, number)
    fi
  :: else -> break
  od;
  number = 0; is_gap = false
}

// One's own events have been in no pipe.
#define IsBlocked() \
  ((events[SLOT_IN(found)] & STANDS_IN(found)) != STANDS_IN(found) && SLOT_IN(found) != me && \
   !IsProven())

#ifdef ANY_LAP
#define StandsThere() (found != 0)
#define IsOverrun() false
#else
#define StandsThere() Taken(found, next)
#define IsOverrun() \
  (seen_tail - next >= PLACES || (!Taken(found, next) && seen_tail > next))
#endif

// The word of place `next` has been found, and after it the tail seen.
inline OpenPlace() {
  at = kPlace;
  if
  :: IsOverrun() -> RunOver()
  :: else ->
    if
    :: !StandsThere() -> at = kIdle
    :: StandsThere() && IsBlocked() -> blocked = true; at = kIdle
    :: else ->
      next++;
      p = SLOT_IN(found);
      passed[p] = LAST_IN(found);
      NextOfPlace(p);
      p = 0
    fi
  fi;
  NextSettled();
  at = (next >= limit -> kIdle : at);
  found = 0; seen_tail = 0
}

inline HasRead() {
  proven = (seen_read && seen > proven -> seen : proven);
  losing = losing && !losing_read;
  losing_read = losing_read && losing;
  fresh = false
}

// The tail has been seen.
inline LookAtRing() {
#ifdef OLD_READ
  // A read that began before the look proves what it saw.
  proven = (seen_read -> seen_tail : proven);
#endif
  limit = seen_tail;
  if
  :: seen <= proven -> seen = limit; seen_read = false
  :: else
  fi;
  seen_tail = 0; found = 0;
  blocked = false;
  NextSettled();
  at = (next < limit -> kPlace : kIdle)
}

// ---- Reading ----

inline HoldEvent(by, n) {
#ifdef ON_ARRIVAL
  Deliver(by, n);
#else
  events[by] = events[by] | BIT(n - 1);
  if
  :: losing -> Lose(by)
  :: else
  fi;
#endif
  look = true
}

inline HandleGap(by, n) {
  if
#ifndef GAP_AT_ONCE
  :: Holds(by) ->
    gaps[by] = gaps[by] | BIT(n - 1);
    if
    :: losing -> Lose(by)
    :: else
    fi
#endif
  :: else -> TellOne(by, n)
  fi
}

inline HandleClaimed(by, n) {
  if
  :: Holds(by) -> said[by] = n; heard = heard | BIT(by)
  :: else
  fi;
  look = true
}

inline HandlePacket() {
  pipe[me]?p, upto;
  if
  :: upto == 0 -> died = died | BIT(p); look = true
  :: else
  fi;
  do
  :: got[p] < upto ->
    number = RECORD(p, got[p]);
    got[p]++;
    if
    :: number > CLAIMED ->
      number = number - CLAIMED;
      HandleClaimed(p, number)
    :: number < CLAIMED && Refused(p, number, me) ->
#ifndef NO_GAP
      HandleGap(p, number)
#endif
    :: else -> HoldEvent(p, number)
    fi
  :: else -> break
  od;
  p = 0; upto = 0; number = 0
}

inline Read() {
  do
  :: nempty(pipe[me]) ->
    HandlePacket();
#ifdef READS_ONE
    break
#endif
  :: empty(pipe[me]) -> break
  od;
  seen_read = true; losing_read = losing; fresh = true
}
#ifdef WAITS_FOR_MISSING
#define WantsRead() losing
#else
#define WantsRead() (blocked || losing)
#endif
#define CanRead() (heard == 0 && died == 0 && (nempty(pipe[me]) || (WantsRead() && !fresh)))

// The tail when claims were heard of.
inline Hear() {
  for (p : 0 .. PUBLISHERS - 1) {
#ifdef CLAIMED_AT_ONCE
    said_before[p] = 0
#else
    said_before[p] = (heard & BIT(p) -> tail : said_before[p])
#endif
  }
  p = 0; heard = 0
}

// And at a death.
inline HearDeath() {
  if
  :: died != 0 ->
#if !defined(DEAD_BY_TAIL) && !defined(DEAD_BY_LIMIT)
    Settle();
#endif
    for (p : 0 .. PUBLISHERS - 1) {
#ifdef DEAD_AT_ONCE
      dead_before[p] = 0
#elif defined(DEAD_BY_LIMIT)
      dead_before[p] = (died & BIT(p) -> limit : dead_before[p])
#else
      dead_before[p] = (died & BIT(p) -> tail : dead_before[p])
#endif
    }
    p = 0;
    dead = dead | died;
    died = 0
  :: else
  fi
}

#define WantsTurn() (heard == 0 && (look || fresh || LooksAgain()))
#define LooksAgain() (HoldsAny() && RingHasNews())

// ---- Publishing ----

#if N == 2
#define HasLeft(number) (HasLeftFor(0, number) && HasLeftFor(1, number))
#define SomePipeIsFull() (IsFull(0) || IsFull(1))
#else
#define HasLeft(number) (HasLeftFor(0, number) && HasLeftFor(1, number) && HasLeftFor(2, number))
#define SomePipeIsFull() (IsFull(0) || IsFull(1) || IsFull(2))
#endif
#define IsFull(b) ((unwritten[b] & UP_TO(closed)) && len(pipe[b]) == CAPACITY)

#define MayPublish(count) \
  (Idles() && numbered + (count) <= EventsOf(me) && \
   (numbered == claimed || (closed > claimed && numbered == closed)))
#define Idles() (Runs(me) && at == kIdle && me < PUBLISHERS)

inline Send(record) {
  RECORD(me, length) = record;
  length++
}

inline Publish(is_refused) {
  numbered++;
  if
  :: tail - next >= PLACES -> RunOver()
  :: else
  fi;
#ifdef OWN_AT_ONCE
  Deliver(me, numbered);
#else
  events[me] = events[me] | BIT(numbered - 1);
#endif
  Send(numbered);
  refused[me] = refused[me] | (is_refused -> BIT(numbered - 1) : 0);
  for (i : 0 .. N - 1) {
    unwritten[i] = unwritten[i] |
        (i != me && !Refused(me, numbered, i) -> BIT(numbered - 1) : 0)
  }
  i = 0
}

inline Close() {
  closed = (closed == claimed -> numbered : closed)
}

inline Write(b) {
  if
  :: down & BIT(b) -> written[b] = length; unwritten[b] = 0
  :: else ->
#ifdef ONE_EACH
    number = RECORD(me, written[b]);
    unwritten[b] = unwritten[b] & ~(number < CLAIMED -> BIT(number - 1) : 0);
    number = 0;
    written[b] = written[b] + 1;
#else
    unwritten[b] = 0;
    written[b] = length;
#endif
    pipe[b]!me, written[b]
  fi;
  lags = lags & ~(written[b] == length -> BIT(b) : 0)
}
#define CanWrite(b) \
  ((b) != me && written[b] < length && ((down & BIT(b)) || len(pipe[b]) < CAPACITY))

inline StopWaiting() {
  for (i : 0 .. N - 1) { lags = lags | (unwritten[i] & UP_TO(closed) -> BIT(i) : 0) }
  i = 0;
  patience--
}

inline Check() {
  at = (StillThere() -> (Taken(found, place) -> kMove : kSwap) : kTail)
}

// What the claim owes to each.
inline NoteClaim() {
  for (j : claimed + 1 .. closed) {
    place_of[EVENT(me, j)] = place + 1;
    for (i : 0 .. N - 1) {
      due[i] = due[i] |
          (Lives(i) && !overran[i] && !Refused(me, j, i) &&
           !((lags & BIT(i)) && (unwritten[i] & BIT(j - 1))) -> BIT(EVENT(me, j)) : 0)
    }
    i = 0
  }
  j = 0
}

inline Swap() {
  if
  :: Unchanged() ->
    Word(place) = WORD(LapOf(place), me, closed - claimed, closed);
    NoteClaim();
    at = kMove
  :: else -> at = kTail
  fi
}

inline Done() {
  claimed = closed;
#ifndef NO_CLAIM_NOTICE
  Send(claimed + CLAIMED);
#endif
  Close();
  look = true;
  place = 0; found = 0;
#ifdef APART
  at = kIdle
#else
  at = kTurn
#endif
}

inline Move() {
  tail = (tail == place -> tail + 1 : tail);
  if
  :: Taken(found, place) -> at = kTail  // by somebody else
  :: else -> Done()
  fi
}

// ---- A process ----

// What was its own is gone with it.
inline Die() {
  alive = alive & ~BIT(me);
  at = kIdle; place = 0; found = 0; seen_tail = 0;
  numbered = 0; closed = 0; claimed = 0; length = 0; lags = 0;
  dead = 0; next = 0; limit = 0; proven = 0; seen = 0; heard = 0; died = 0; delivered = 0;
  seen_read = false; blocked = false; losing = false; losing_read = false;
  fresh = false; look = false;
  due[me] = 0;
  for (p : 0 .. PUBLISHERS - 1) {
    events[p] = 0; gaps[p] = 0; said[p] = 0; said_before[p] = 0; dead_before[p] = 0;
    losing_items[p] = 0; passed[p] = 0; got[p] = 0; told[p] = 0
  }
  p = 0;
  for (i : 0 .. N - 1) { unwritten[i] = 0; written[i] = 0 }
  i = 0
}
#define MayDie() ((KILLED & BIT(me)) && Lives(me))
#define MayStop() ((STOPPED & BIT(me)) && Runs(me))

// Nothing can happen any more.
inline CheckRest() {
  assert(claimed == EventsOf(me));  // claim 5
  assert(len(pipe[me]) == 0);
  assert(due[me] == 0);
  for (p : 0 .. PUBLISHERS - 1) {
    if
    :: Lives(p) && !Runs(p)
    :: Lives(p) && Runs(p) ->
      assert(told[p] == UP_TO(EventsOf(p)));
      assert(!Holds(p))
    :: else -> assert(!Holds(p))
    fi
  }
}

proctype Process(byte me) {
  mtype at = kIdle;
  byte place;  // that it claims
  byte found;  // the word that it saw
  byte seen_tail;

  // Publishing. Bits of numbers: what is accepted and not written; bits of processes: who is not
  // waited for.
  byte numbered, closed, claimed;
  byte length, written[N];  // records
  byte unwritten[N];
  byte lags;

  // The book; limit is OrderBook::end_. Bits of numbers: events that are held, and gaps at the
  // place of those that were refused.
  byte events[PUBLISHERS], gaps[PUBLISHERS];
  byte got[PUBLISHERS];  // records
  byte said[PUBLISHERS], said_before[PUBLISHERS];
  byte dead, dead_before[PUBLISHERS];
  byte losing_items[PUBLISHERS];
  byte passed[PUBLISHERS];
  byte next, limit, proven, seen;
  bool seen_read;  // a read has begun since then
  bool blocked, losing, losing_read;
  bool fresh;         // a read that the book has not been told of
  bool look;
  byte heard, died;   // notices that have been read
  byte told[PUBLISHERS], delivered;  // bits of numbers, of events: what has come out

  byte number, upto, i, j, p;
  bool is_gap;

end:
  do
  :: d_step { MayPublish(1) -> Publish(false); Close() }
  :: d_step { MayPublish(2) -> Publish(false); Publish(false); Close() }
#if REFUSALS > 0
  :: d_step { MayPublish(1) && refusals > 0 -> refusals--; Publish(true); Close() }
  :: d_step { MayPublish(2) && refusals > 0 ->
      refusals--; Publish(true); Publish(false); Close() }
  :: d_step { MayPublish(2) && refusals > 0 ->
      refusals--; Publish(false); Publish(true); Close() }
#endif
  :: d_step { Idles() && CanWrite(0) -> Write(0) }
  :: d_step { Idles() && CanWrite(1) -> Write(1) }
#if N > 2
  :: d_step { Idles() && CanWrite(2) -> Write(2) }
#endif
#if PATIENCE > 0 && !defined(NO_PATIENCE)
  :: d_step { Idles() && patience > 0 && !HasLeft(closed) && SomePipeIsFull() -> StopWaiting() }
#endif

  // A claim.
#if defined(APART) || defined(CLAIM_APART)
  :: d_step { Idles() && claimed < closed && HasLeft(closed) -> place = tail; at = kLook }
  :: d_step { Runs(me) && at == kTail -> place = tail; at = kLook }
  :: d_step { Runs(me) && at == kLook -> found = Word(place); at = kCheck }
  :: d_step { Runs(me) && at == kCheck -> Check() }
#else
  :: d_step { Runs(me) && (at == kTail || (Idles() && claimed < closed && HasLeft(closed))) ->
      place = tail; found = Word(place);
      Check() }
#endif
  :: d_step { Runs(me) && at == kSwap -> Swap() }
  :: d_step { Runs(me) && at == kMove -> Move() }

  // Receiving.
#ifdef APART
  :: d_step { Runs(me) && at == kIdle && CanRead() -> Read() }
  :: d_step { Runs(me) && at == kIdle && heard != 0 -> Hear() }
  :: d_step { Runs(me) && at == kIdle && WantsTurn() ->
      HearDeath();
      look = false;
      HasRead();
      at = kSettle }
  :: d_step { Runs(me) && at == kSettle ->
      seen_tail = tail; found = Word(seen_tail);
      at = (HelpsWith(found, seen_tail) -> kHelp : kMoved) }
  :: d_step { Runs(me) && at == kHelp ->
      tail = (tail == seen_tail -> tail + 1 : tail);
      at = kMoved }
  :: d_step { Runs(me) && at == kMoved -> seen_tail = tail; LookAtRing() }
  :: d_step { Runs(me) && at == kPlace -> found = Word(next); at = kPlaceTail }
  :: d_step { Runs(me) && at == kPlaceTail -> seen_tail = tail; OpenPlace() }
#else
  :: d_step { Runs(me) && at == kIdle && CanRead() -> Read(); Hear(); at = kTurn }
  :: d_step { Runs(me) && (at == kTurn || (at == kIdle && LooksAgain())) ->
      HearDeath();
      look = false;
      HasRead();
      Settle();
      seen_tail = tail;
      LookAtRing();
      do
      :: at == kPlace -> found = Word(next); seen_tail = tail; OpenPlace()
      :: else -> break
      od;
      found = 0 }
#endif

#if KILLED > 0
  :: d_step { MayDie() -> Die() }
#endif
#if STOPPED > 0
  :: d_step { MayStop() -> stopped = stopped | BIT(me) }
#endif
  :: atomic { timeout ->
      if
      :: Runs(me) -> d_step { CheckRest(); p = 0 }
      :: else
      fi;
      break }
  od
}

// ---- The master ----

inline Bury(who) {
  down = down | BIT(who);
  do
  :: nempty(pipe[who]) -> pipe[who]?_, _
  :: empty(pipe[who]) -> break
  od;
  untold[who] = 0;
#ifndef NO_DEATH_NOTICE
  for (i : 0 .. N - 1) {
    untold[i] = untold[i] | (Lives(i) && who < PUBLISHERS -> BIT(who) : 0)
  }
  i = 0
#endif
}
#ifdef NOTICE_EARLY
#define CanBury(who) ((KILLED & BIT(who)) && !(down & BIT(who)))
#else
#define CanBury(who) (!Lives(who) && !(down & BIT(who)))
#endif

inline Tell(reader) {
  do
  :: untold[reader] & BIT(i) -> break
  :: else -> i++
  od;
  pipe[reader]!i, 0;
  untold[reader] = untold[reader] & ~BIT(i);
  i = 0
}
#define CanTell(reader) (untold[reader] != 0 && nfull(pipe[reader]))

proctype Master() {
  byte i;

end:
  do
  :: d_step { CanBury(0) -> Bury(0) }
  :: d_step { CanBury(1) -> Bury(1) }
  :: d_step { CanTell(0) -> Tell(0) }
  :: d_step { CanTell(1) -> Tell(1) }
#if N > 2
  :: d_step { CanBury(2) -> Bury(2) }
  :: d_step { CanTell(2) -> Tell(2) }
#endif
  od
}

init {
  atomic {
    byte i;
    alive = UP_TO(N);
    for (i : 0 .. N - 1) { run Process(i) }
    i = 0;
    run Master()
  }
}
