// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint has counted since it was attached. How to see the figures of others, and of the
// dead: family_stats.h.
#ifndef ALERTPIPE_STATS_H_
#define ALERTPIPE_STATS_H_

#include <cstdint>

#include <alertpipe/latency.h>

namespace alertpipe {

// ALERTPIPE_STATS(X) calls X(name) for each counter, in the order of their places in a slot's
// counter page. Bytes of alerts are those of their names and data.
#define ALERTPIPE_STATS(X)                                                                         \
  /* Sent from here. */                                                                            \
  X(alerts_accepted)     /* alerts that a send or broadcast accepted, once per receiver */         \
  X(bytes_accepted)      /* bytes of alerts_accepted */                                            \
  X(alerts_refused)      /* alerts that were refused at the call, once per receiver */             \
  X(bytes_refused)       /* bytes of alerts_refused */                                             \
  X(refused_invalid)     /* of alerts_refused: longer than a limit (kInvalidArgument) */           \
  X(refused_unreachable) /* of alerts_refused: receiver unknown, dead (kNotFound, kUnavailable) */ \
  X(refused_full)        /* of alerts_refused: a queue is full, or too many requests are open */   \
  X(refused_memory)      /* of alerts_refused: no memory here */                                   \
  X(refused_closed)      /* of alerts_refused: not attached, closing, closed */                    \
  X(alerts_written)      /* accepted alerts of which every byte is in the receiver's pipe */       \
  X(alerts_undelivered)  /* accepted alerts that failed later: OnUndelivered, or the callback */   \
  X(undelivered_peer_died)       /* of alerts_undelivered: UndeliveredReason::kPeerDied */         \
  X(undelivered_receiver_full)   /* of alerts_undelivered: UndeliveredReason::kReceiverFull */     \
  X(undelivered_receiver_memory) /* of alerts_undelivered: UndeliveredReason::kReceiverMemory */   \
  X(undelivered_closed)          /* of alerts_undelivered: UndeliveredReason::kClosed */           \
  /* Received here. */                                                                             \
  X(alerts_delivered)     /* alerts that a handler or a response callback was called for */        \
  X(bytes_delivered)      /* bytes of alerts_delivered */                                          \
  X(alerts_unhandled)     /* alerts that arrived and had no handler: discarded */                  \
  X(bytes_unhandled)      /* bytes of alerts_unhandled */                                          \
  X(alerts_rejected)      /* alerts that arrived and could not be held: sent back */               \
  X(alerts_stale)         /* alerts for an earlier generation of this slot: discarded */           \
  X(alerts_drained)       /* alerts taken unread from the pipe of a dead worker: discarded. In the \
                             last figures of a worker those of its pipe, in the master's all */    \
  X(alerts_drained_stale) /* the same for those that were meant for an earlier generation */       \
  X(partials_dropped)     /* half-received alerts of senders that died: discarded */               \
  X(handler_errors)       /* handlers that threw */                                                \
  /* Requests. */                                                                                  \
  X(requests_sent)      /* of alerts_accepted: requests */                                         \
  X(responses_sent)     /* of alerts_accepted: responses */                                        \
  X(responses_received) /* requests that ended with a response */                                  \
  X(requests_failed)    /* requests that ended without one */                                      \
  X(responses_late)     /* of alerts_unhandled: responses to requests that had ended */            \
  X(barriers_begun)     /* barriers, those of a drain (two) included */                            \
  X(barriers_missed)    /* of barriers_begun: not acknowledged by all in time */                   \
  /* System calls. */                                                                              \
  X(packets_written)   /* packets put into pipes */                                                \
  X(packets_read)      /* packets taken from the own pipe */                                       \
  X(control_read)      /* control records taken from the own pipe */                               \
  X(writes)            /* write system calls */                                                    \
  X(writes_blocked)    /* of writes: EAGAIN, the pipe was full */                                  \
  X(write_errors)      /* of writes: any other error, as of a pipe that nobody reads any more */   \
  X(reads)             /* read system calls on the own pipe */                                     \
  X(reads_empty)       /* of reads: EAGAIN, there was nothing */                                   \
  X(read_errors)       /* of reads: any other error */                                             \
  X(nonblock_restored) /* times that O_NONBLOCK of a pipe was found cleared and was set again */   \
  /* Damage. */                                                                                    \
  X(damaged_framing) /* times that bytes had to be discarded because they were no packet */        \
  X(damaged_bytes)   /* the bytes of damaged_framing, and such bytes in pipes that were drained */ \
  X(damaged_packets) /* well-framed packets that made no sense: forged, out of turn */             \
  X(damaged_records) /* records that made no sense; the rest of their packet is discarded */       \
  X(lost_alerts)     /* holes in a sender's sequence, in alerts; 0 unless there was damage */      \
  X(rejects_dropped) /* notices of rejected alerts or unhandled requests that found no room */     \
  /* Amounts. */                                                                                   \
  X(queued_bytes)      /* held here for other processes now, as Endpoint::QueuedBytes() says */    \
  X(queued_bytes_peak) /* the most that queued_bytes ever was */                                   \
  X(reassembly_bytes)  /* held now for alerts that are not complete yet */                         \
  X(reassembly_bytes_peak) /* the most that reassembly_bytes ever was */                           \
  X(pipe_capacity)         /* bytes that the kernel granted the own pipe when it was made */

struct Stats {
#define ALERTPIPE_DECLARE_STAT(name) std::uint64_t name = 0;
  ALERTPIPE_STATS(ALERTPIPE_DECLARE_STAT)
#undef ALERTPIPE_DECLARE_STAT

  // Of alerts_delivered, from the sender's call to this process's handler; see latency.h.
  LatencyHistogram latency;
};

}  // namespace alertpipe

#endif  // ALERTPIPE_STATS_H_
