// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint has counted since it was attached.
#ifndef ALERTPIPE_STATS_H_
#define ALERTPIPE_STATS_H_

#include <cstdint>

namespace alertpipe {

// ALERTPIPE_STATS(X) calls X(name) for each counter, in the order of their places in a slot's
// counter page.
#define ALERTPIPE_STATS(X)                                                                         \
  X(alerts_accepted)    /* alerts that a send or broadcast accepted, once per receiver */          \
  X(alerts_refused)     /* alerts that were refused at the call, once per receiver */              \
  X(alerts_written)     /* accepted alerts of which every byte is in the receiver's pipe */        \
  X(alerts_undelivered) /* accepted alerts that failed later and were given to OnUndelivered */    \
  X(alerts_delivered)   /* alerts that a handler or a response callback was called for */          \
  X(alerts_unhandled)   /* alerts that arrived and had no handler: discarded */                    \
  X(alerts_rejected)    /* alerts that arrived and could not be held: sent back as undelivered */  \
  X(alerts_stale)       /* alerts for an earlier generation of this slot: discarded */             \
  X(alerts_drained)     /* master: alerts taken from the pipes of dead workers: discarded */       \
  X(alerts_drained_stale) /* master: of earlier generations, found by the same drains */           \
  X(partials_dropped)     /* half-received alerts of senders that died */                          \
  X(handler_errors)       /* handlers that threw */                                                \
  X(requests_sent)        /* of alerts_accepted, requests */                                       \
  X(responses_sent)       /* of alerts_accepted, responses */                                      \
  X(responses_received)   /* requests that ended with a response */                                \
  X(requests_failed)      /* requests that ended without one */                                    \
  X(responses_late)       /* of alerts_unhandled, responses to requests that had ended */          \
  X(bytes_accepted)       /* name and data bytes of alerts_accepted */                             \
  X(bytes_delivered)      /* name and data bytes of alerts_delivered */                            \
  X(packets_written)      /* packets put into pipes */                                             \
  X(packets_read)         /* packets taken from the own pipe */                                    \
  X(writes)               /* write system calls */                                                 \
  X(writes_blocked)       /* of these, refused because the pipe was full */                        \
  X(reads)                /* read system calls */                                                  \
  X(control_read)         /* control records received */                                           \
  X(damaged_bytes)        /* bytes discarded for broken framing */                                 \
  X(damaged_packets)      /* well-framed packets that made no sense: forged, out of turn */        \
  X(damaged_records)      /* records that made no sense; the rest of their packet is discarded */  \
  X(lost_alerts)          /* holes in a sender's sequence, in alerts; 0 unless there was damage */ \
  X(rejects_dropped)      /* notices of rejected alerts that found no room: a flooding sender */   \
  X(queued_bytes)         /* held here for other processes now */                                  \
  X(queued_bytes_peak)    /* the most that was ever held */                                        \
  X(reassembly_bytes)     /* held now for alerts that are not complete yet */                      \
  X(reassembly_bytes_peak) /* the most that was ever held */

struct Stats {
#define ALERTPIPE_DECLARE_STAT(name) std::uint64_t name = 0;
  ALERTPIPE_STATS(ALERTPIPE_DECLARE_STAT)
#undef ALERTPIPE_DECLARE_STAT
};

}  // namespace alertpipe

#endif  // ALERTPIPE_STATS_H_
