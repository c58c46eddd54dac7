// SPDX-License-Identifier: Apache-2.0

#include "os/fork_guard.h"

#include <sys/mman.h>

#include <new>

#include "absl/strings/str_cat.h"
#include "os/errors.h"

// For older system headers.
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace alertpipe::os {

absl::StatusOr<ForkGuard> ForkGuard::Create(bool wipe_on_fork) {
  ForkGuard guard;
  guard.owner_ = calls().getpid();
  if (!wipe_on_fork) return guard;
  const size_t bytes = PageBytes();
  // The kernel wipes private anonymous memory only, and only whole pages.
  void* page =
      calls().mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return ErrnoStatus(errno, absl::StrCat("mmap(\"alertpipe-fork-guard\", ", bytes, ")"));
  Mapping mapping(page, bytes);
  if (calls().madvise(page, bytes, MADV_WIPEONFORK) != 0) return guard;
  new (page) std::atomic<uint32_t>(1);
  guard.word_ = std::move(mapping);
  return guard;
}

}  // namespace alertpipe::os
