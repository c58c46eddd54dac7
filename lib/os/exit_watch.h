// SPDX-License-Identifier: Apache-2.0
//
// One descriptor for the ends of many children. An epoll set of pidfds is itself pollable, so an
// outer loop watches a single descriptor however many workers there are, and without SIGCHLD, which
// belongs to the program.

#ifndef ALERTPIPE_OS_EXIT_WATCH_H_
#define ALERTPIPE_OS_EXIT_WATCH_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "os/unique_fd.h"

namespace alertpipe::os {

// Move-only, not thread-safe. The epoll set is shared with forked children, the object is not: a
// child may only destroy its copy, which leaves the parent's set as it is; Add() and Remove() there
// would change the parent's. Costs one descriptor and one per watched child.
class ExitWatch {
 public:
  //   Unimplemented      no pidfd here: use SIGCHLD and HasExited() instead
  //   ResourceExhausted  no descriptor, no memory
  static absl::StatusOr<ExitWatch> Create();

  ExitWatch(ExitWatch&&) noexcept = default;
  ExitWatch& operator=(ExitWatch&&) noexcept = default;

  // Watches child `pid`, which must not have been reaped, under a `tag` of the caller's choice.
  //   AlreadyExists      the tag is in use
  //   NotFound           there is no such process
  //   ResourceExhausted  no descriptor, no memory, or fs.epoll.max_user_watches is reached
  absl::Status Add(pid_t pid, uint64_t tag);

  // Forgets `tag` and closes its descriptor; nothing happens if the tag is not watched.
  void Remove(uint64_t tag) noexcept;

  // Sends SIGKILL to the child that is watched under `tag`; no other process can be hit, whoever
  // reaps it. Returns 0, also when it has ended, or errno: ENOENT when the tag is not watched,
  // ENOSYS or EPERM where the kernel or a sandbox knows no pidfd_send_signal, EPERM when the child
  // belongs to another user by now.
  int Kill(uint64_t tag) noexcept;

  // Writes the tags of children that have ended to `tags`, at most `max` and at most kExitedMax,
  // and returns their number. Does not block. A tag is reported again until it is removed, so when
  // the array comes back full: remove those tags, then ask again.
  static constexpr size_t kExitedMax = 64;
  size_t Exited(uint64_t* tags, size_t max) noexcept;

  // In a child of the owner: gives up its copies of the pidfds, and of the epoll descriptor too
  // unless `keep_fd` (when something else has been put behind its number). What the owner watches
  // is not changed.
  void EnterChild(bool keep_fd) noexcept;

  // Readable while Exited() has something to say. Owned here.
  int fd() const noexcept { return epoll_.get(); }

 private:
  explicit ExitWatch(UniqueFd epoll) noexcept : epoll_(std::move(epoll)) {}

  UniqueFd epoll_;
  std::unordered_map<uint64_t, UniqueFd> pidfds_;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_EXIT_WATCH_H_
