// SPDX-License-Identifier: Apache-2.0
//
// Marks what the shared library exports; everything else is hidden.
#ifndef ALERTPIPE_EXPORT_H_
#define ALERTPIPE_EXPORT_H_

#define ALERTPIPE_EXPORT __attribute__((visibility("default")))

#endif  // ALERTPIPE_EXPORT_H_
