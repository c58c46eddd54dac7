// SPDX-License-Identifier: Apache-2.0
//
// alertpipe: named alerts between a master and its forked workers. This header includes all of it.
#ifndef ALERTPIPE_ALERTPIPE_H_
#define ALERTPIPE_ALERTPIPE_H_

#include <alertpipe/alert.h>         // IWYU pragma: export
#include <alertpipe/barrier.h>       // IWYU pragma: export
#include <alertpipe/buffer.h>        // IWYU pragma: export
#include <alertpipe/diagnostic.h>    // IWYU pragma: export
#include <alertpipe/endpoint.h>      // IWYU pragma: export
#include <alertpipe/events.h>        // IWYU pragma: export
#include <alertpipe/family_stats.h>  // IWYU pragma: export
#include <alertpipe/latency.h>       // IWYU pragma: export
#include <alertpipe/limits.h>        // IWYU pragma: export
#include <alertpipe/master.h>        // IWYU pragma: export
#include <alertpipe/peer.h>          // IWYU pragma: export
#include <alertpipe/request.h>       // IWYU pragma: export
#include <alertpipe/restart.h>       // IWYU pragma: export
#include <alertpipe/result.h>        // IWYU pragma: export
#include <alertpipe/slot.h>          // IWYU pragma: export
#include <alertpipe/stats.h>         // IWYU pragma: export
#include <alertpipe/supervisor.h>    // IWYU pragma: export
#include <alertpipe/version.h>       // IWYU pragma: export
#include <alertpipe/worker.h>        // IWYU pragma: export

#endif  // ALERTPIPE_ALERTPIPE_H_
