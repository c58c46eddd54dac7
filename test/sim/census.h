// SPDX-License-Identifier: Apache-2.0
//
// How often each thing happened that a simulation exists for. A zero after many steps is a failure
// of the simulator's reach and counts as one.
#ifndef ALERTPIPE_TEST_SIM_CENSUS_H_
#define ALERTPIPE_TEST_SIM_CENSUS_H_

#include <cstdint>

namespace alertpipe::sim {

// X(name, what is printed)
#define ALERTPIPE_SIM_EVENTS(X)                                                \
  X(steps, "steps")                                                            \
  X(seeds, "families")                                                         \
  X(crashes, "crashes of workers")                                             \
  X(crashes_mid_send, "crashes between two steps of a send")                   \
  X(crashes_mid_write, "crashes between the look at the roster and the write") \
  X(crashes_mid_alert, "crashes with an alert half written")                   \
  X(crashes_mid_reassembly, "crashes with an alert half received")             \
  X(crashes_stopped, "crashes of stopped workers")                             \
  X(crashes_booting, "crashes between fork and attach")                        \
  X(crashes_nonempty_pipe, "crashes that leave something in the pipe")         \
  X(leaves, "workers that closed and left")                                    \
  X(master_crashes, "crashes of the master")                                   \
  X(master_crashes_mid_life, "crashes of the master in the life of a slot")    \
  X(forks, "forks")                                                            \
  X(forks_failed, "failed forks")                                              \
  X(reserved, "slots reserved for forks of the program")                       \
  X(reserved_cancelled, "reserved slots given up")                             \
  X(pids_reused, "pids used again")                                            \
  X(attached_late, "masters that attach late")                                 \
  X(stops, "processes stopped")                                                \
  X(eagain_full, "writes to a full pipe")                                      \
  X(eagain_spurious, "spurious EAGAIN")                                        \
  X(eintr, "EINTR")                                                            \
  X(enomem_kernel, "writes with ENOMEM")                                       \
  X(epipe, "EPIPE")                                                            \
  X(torn_runs, "runs cut at a packet boundary")                                \
  X(late_writes, "writes after the receiver was replaced")                     \
  X(memory_refused, "allocations refused")                                     \
  X(wakeups_lost, "wake-ups lost")                                             \
  X(eagain_notice, "notices that found a full pipe")                           \
  X(accepted, "alerts accepted")                                               \
  X(accepted_large, "alerts of several packets accepted")                      \
  X(accepted_over_cap, "alerts larger than a cap accepted")                    \
  X(broadcasts, "broadcasts")                                                  \
  X(appended, "alerts added to the packet of others")                          \
  X(written_alone, "alerts written without being queued")                      \
  X(lingered, "reads of an inbox that need not have anything")                 \
  X(self_sends, "alerts to oneself")                                           \
  X(replies, "replies")                                                        \
  X(refused_full, "sends refused: a queue is full")                            \
  X(refused_memory, "sends refused: no memory")                                \
  X(refused_dead, "sends refused: the receiver is dead")                       \
  X(delivered, "alerts delivered")                                             \
  X(delivered_large, "alerts of several packets delivered")                    \
  X(rejected, "alerts that the receiver could not hold")                       \
  X(rejected_memory, "of these: no memory")                                    \
  X(rejected_told, "rejects told to the sender")                               \
  X(failed_back, "alerts given back: the receiver died")                       \
  X(failed_closed, "alerts given back: the sender closed")                     \
  X(drained, "alerts drained")                                                 \
  X(drained_stale, "stale alerts drained")                                     \
  X(stale, "stale alerts dropped")                                             \
  X(partials, "half-received alerts of the dead dropped")                      \
  X(requests, "requests")                                                      \
  X(ended_response, "requests ended: response")                                \
  X(ended_deadline, "requests ended: deadline")                                \
  X(ended_died, "requests ended: the peer died")                               \
  X(ended_unhandled, "requests ended: unhandled")                              \
  X(ended_undelivered, "requests ended: undelivered")                          \
  X(ended_closed, "requests ended: closed")                                    \
  X(responses_late, "late responses")                                          \
  X(barriers, "barriers")                                                      \
  X(barriers_ok, "barriers passed by all")                                     \
  X(barriers_died, "barriers during which somebody died")                      \
  X(barriers_deadline, "barriers that missed their deadline")                  \
  X(barriers_cancelled, "barriers given up")                                   \
  X(retired, "workers retired")                                                \
  X(retired_told, "workers told of it")                                        \
  X(retired_left, "retired workers that left in order")                        \
  X(retired_killed, "retired workers killed at the deadline")                  \
  X(retired_crashed, "retired workers that crashed")                           \
  X(retired_killed_stopped, "stopped ones killed at the deadline")             \
  X(refused_last_word, "sends refused: the sender has said its last")          \
  X(sent_to_retired, "alerts accepted for retired workers")                    \
  X(restarts, "rolling restarts")                                              \
  X(restarts_ok, "restarts that replaced all")                                 \
  X(restarts_failed, "restarts that failed")                                   \
  X(replaced, "workers replaced")                                              \
  X(successors_not_ready, "successors that did not answer in time")            \
  X(ordered, "ordered events")                                                 \
  X(ordered_accepted, "of these: accepted, in all for their receivers")        \
  X(ordered_refused, "refused: no room")                                       \
  X(ordered_rejected, "that the receiver could not take")                      \
  X(ordered_delivered, "delivered")                                            \
  X(ordered_late, "missed: they came after their place")                       \
  X(ordered_no_room, "missed: no room to hold them")                           \
  X(ordered_withdrawn, "withdrawn")                                            \
  X(ordered_gaps_told, "told as missing by their publisher")                   \
  X(ordered_settled, "settled")                                                \
  X(claims, "claims of a place")                                               \
  X(claims_of_several, "of these: for several events")                         \
  X(claims_put_off, "claims that went on in the next turn")                    \
  X(claims_told, "claims told")                                                \
  X(events_retried, "gaps and claims to be told again: no memory")             \
  X(patience_ended, "claims that waited for nobody any longer")                \
  X(overruns, "receivers that the ring ran over")                              \
  X(crashes_mid_publish, "crashes with an event sent to some")                 \
  X(crashes_mid_claim, "crashes between two steps of a claim")                 \
  X(stops_mid_claim, "stops between two steps of a claim")                     \
  X(joined, "joins told")                                                      \
  X(left, "deaths told")                                                       \
  X(room_told, "queues told as drained")                                       \
  X(orphaned, "orphaned workers")                                              \
  X(orphaned_requests, "requests that orphans ended")                          \
  X(garbage, "writes of a hostile relative")                                   \
  X(garbage_framing, "damage to framing found")                                \
  X(garbage_packets, "forged packets found")                                   \
  X(garbage_records, "forged records found")                                   \
  X(pairs_settled, "pairs that both lived and were settled")                   \
  X(pairs_settled_dead, "pairs of which one had died")                         \
  X(pairs_exempt, "pairs exempt: victims of a hostile relative")

struct Census {
#define ALERTPIPE_SIM_DECLARE(name, text) std::uint64_t name = 0;
  ALERTPIPE_SIM_EVENTS(ALERTPIPE_SIM_DECLARE)
#undef ALERTPIPE_SIM_DECLARE

  void Add(const Census& other) {
#define ALERTPIPE_SIM_ADD(name, text) name += other.name;
    ALERTPIPE_SIM_EVENTS(ALERTPIPE_SIM_ADD)
#undef ALERTPIPE_SIM_ADD
  }
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_CENSUS_H_
