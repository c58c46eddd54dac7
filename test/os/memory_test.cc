// SPDX-License-Identifier: Apache-2.0

#include "os/memory.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"
#include "support.h"

namespace alertpipe::os {
namespace {

char* Writable(const SealedRegion& region) { return static_cast<char*>(region.writable()); }
const char* Readable(const SealedRegion& region) {
  return static_cast<const char*>(region.readable());
}

// A descriptor of the region's memory that somebody kept against the rules.
int g_kept_fd = -1;

int CreateAndKeep(const char* name, unsigned flags) {
  const int fd = ::memfd_create(name, flags);
  g_kept_fd = fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return fd;
}

int CreateWithoutNoexecSeal(const char* name, unsigned flags) {
  if ((flags & ~unsigned{MFD_CLOEXEC | MFD_ALLOW_SEALING}) == 0) return ::memfd_create(name, flags);
  errno = EINVAL;
  return -1;
}

// A kernel before 5.1.
int FcntlWithoutFutureWrite(int fd, int command, int argument) {
  if (command == F_ADD_SEALS && (argument & 0x10) != 0) {
    errno = EINVAL;
    return -1;
  }
  return ::fcntl(fd, command, argument);
}

TEST(SealedRegion, ShowsTheCreatorsWritesToItsChildren) {
  const NoLeaks no_leaks;
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 100);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_EQ(region->size(), PageBytes());
  EXPECT_EQ(Readable(*region)[0], 0);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = Spawn([&] {
    region->ForgetWritable();
    char byte;
    CHILD_EXPECT(::read(ready[0], &byte, 1) == 1);
    CHILD_EXPECT(std::strcmp(Readable(*region), "after the fork") == 0);
    return 0;
  });
  std::strcpy(Writable(*region), "after the fork");
  EXPECT_EQ(::write(ready[1], "x", 1), 1);
  EXPECT_EQ(Wait(child), 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

// All ways that a worker has to get at the memory for writing, with a descriptor that it should not
// have.
int AttackSealedMemory(const SealedRegion& region, void* writable, int fd) {
  const size_t bytes = region.size();
  void* const readable = const_cast<void*>(region.readable());
  CHILD_EXPECT(!IsMapped(writable));
  CHILD_EXPECT(::mprotect(readable, bytes, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
  CHILD_EXPECT(::mmap(nullptr, bytes, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  CHILD_EXPECT(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  void* second = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  CHILD_EXPECT(second != MAP_FAILED);
  CHILD_EXPECT(::mprotect(second, bytes, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
  CHILD_EXPECT(::mremap(readable, bytes, bytes * 2, MREMAP_MAYMOVE) == MAP_FAILED ||
               ::mprotect(readable, bytes, PROT_WRITE) != 0);
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const int reopened = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  for (const int each : {fd, reopened}) {
    if (each < 0) continue;
    CHILD_EXPECT(::pwrite(each, "evil", 4, 0) < 0 && errno == EPERM);
    CHILD_EXPECT(::mmap(nullptr, bytes, PROT_WRITE, MAP_SHARED, each, 0) == MAP_FAILED);
    CHILD_EXPECT(::ftruncate(each, 0) != 0 && errno == EPERM);
    CHILD_EXPECT(::ftruncate(each, static_cast<off_t>(bytes * 2)) != 0 && errno == EPERM);
    CHILD_EXPECT(::fcntl(each, F_ADD_SEALS, 0) != 0 && errno == EPERM);
    CHILD_EXPECT(::fallocate(each, 0x02 | 0x01, 0, static_cast<off_t>(bytes)) != 0);
  }
  const int truncated = ::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC);
  CHILD_EXPECT(truncated < 0 || ::lseek(truncated, 0, SEEK_END) == static_cast<off_t>(bytes));
  return 0;
}

TEST(SealedRegion, CannotBeWrittenByAChild) {
  const NoLeaks no_leaks;
  const Replace<&Calls::memfd_create> keep(&CreateAndKeep);
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 8192);
  ASSERT_TRUE(region.ok()) << region.status();
  if (!region->sealed()) {
    ::close(g_kept_fd);
    GTEST_SKIP() << "this kernel has no F_SEAL_FUTURE_WRITE";
  }
  std::strcpy(Writable(*region), "good");
  EXPECT_EQ(RunInChild([&] {
              void* const writable = region->writable();
              region->ForgetWritable();
              CHILD_EXPECT(region->writable() == nullptr);
              return AttackSealedMemory(*region, writable, g_kept_fd);
            }),
            0);
  EXPECT_STREQ(Readable(*region), "good");
  std::strcpy(Writable(*region), "still the only writer");
  EXPECT_STREQ(Readable(*region), "still the only writer");
  ::close(g_kept_fd);
}

TEST(SealedRegion, KeepsOneDescriptorForReadersAndOnlyIfItIsSealed) {
  const std::set<int> before = OpenDescriptors();
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  ASSERT_EQ(OpenDescriptors().size(), before.size() + 1);
  EXPECT_NE(::fcntl(region->fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_LT(::pwrite(region->fd(), "x", 1, 0), 0);
  region->CloseFd();
  EXPECT_EQ(OpenDescriptors(), before);
  const Replace<&Calls::fcntl> old(&FcntlWithoutFutureWrite);
  region = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  EXPECT_LT(region->fd(), 0);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(SealedRegion, IsStillReadOnlyForChildrenOfAnOlderKernel) {
  const NoLeaks no_leaks;
  const Replace<&Calls::fcntl> old(&FcntlWithoutFutureWrite);
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_FALSE(region->sealed());
  std::strcpy(Writable(*region), "seen");
  EXPECT_EQ(RunInChild([&] {
              CHILD_EXPECT(!IsMapped(region->writable()));
              region->ForgetWritable();
              CHILD_EXPECT(std::strcmp(Readable(*region), "seen") == 0);
              void* const readable = const_cast<void*>(region->readable());
              CHILD_EXPECT(::mprotect(readable, region->size(), PROT_WRITE) != 0);
              return 0;
            }),
            0);
}

TEST(SealedRegion, WorksOnAnOlderKernelWithoutProc) {
  const NoLeaks no_leaks;
  const Replace<&Calls::fcntl> old(&FcntlWithoutFutureWrite);
  const Fault<&Calls::open> no_proc(kEvery, ENOENT);
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_TRUE(no_proc.fired());
  EXPECT_FALSE(region->sealed());
  std::strcpy(Writable(*region), "seen");
  EXPECT_STREQ(Readable(*region), "seen");
}

TEST(SealedRegion, WorksOnKernelsThatDoNotKnowTheNoexecSeal) {
  const Replace<&Calls::memfd_create> old(&CreateWithoutNoexecSeal);
  EXPECT_TRUE(SealedRegion::Create("alertpipe-test", 1).ok());
  EXPECT_TRUE(SharedRegion::Create("alertpipe-test", 1).ok());
}

TEST(SealedRegion, ForgottenPagesAreNotUnmappedAgain) {
  EXPECT_EQ(RunInChild([] {
              void* writable;
              {
                absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 1);
                CHILD_EXPECT(region.ok());
                writable = region->writable();
                const pid_t child = ::fork();
                if (child > 0) return Wait(child);
                region->ForgetWritable();
                // What a worker's allocator may do: take the free address.
                CHILD_EXPECT(::mmap(writable, region->size(), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == writable);
              }
              CHILD_EXPECT(IsMapped(writable));
              return 0;
            }),
            0);
}

TEST(SealedRegion, MovesWithoutUnmapping) {
  const NoLeaks no_leaks;
  absl::StatusOr<SealedRegion> region = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  SealedRegion moved(*std::move(region));
  Writable(moved)[0] = 'm';
  absl::StatusOr<SealedRegion> other = SealedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(other.ok());
  const void* const old = other->readable();
  *other = std::move(moved);
  EXPECT_FALSE(IsMapped(old));
  EXPECT_EQ(Readable(*other)[0], 'm');
}

TEST(SealedRegion, RefusesImpossibleSizesAndNames) {
  const NoLeaks no_leaks;
  for (const size_t bytes : {size_t{0}, SIZE_MAX, SIZE_MAX / 2}) {
    EXPECT_EQ(SealedRegion::Create("alertpipe-test", bytes).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(SharedRegion::Create("alertpipe-test", bytes).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const std::string name(250, 'n');
  EXPECT_EQ(SealedRegion::Create(name.c_str(), 1).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(SealedRegion::Create(name.substr(1).c_str(), 1).ok());
}

// Fails the first, second, ... call of one function. The status is expected to be `code` each time.
template <typename Region, auto kMember>
void FailEachCall(int error, absl::StatusCode code, int expected_calls) {
  for (int nth = 1; nth <= expected_calls + 1; ++nth) {
    const NoLeaks no_leaks;
    const Fault<kMember> fault(nth, error);
    const absl::StatusOr<Region> region = Region::Create("alertpipe-test", 1);
    EXPECT_EQ(fault.fired(), nth <= expected_calls) << nth;
    EXPECT_EQ(region.status().code(), nth <= expected_calls ? code : absl::StatusCode::kOk) << nth;
  }
}

TEST(SealedRegion, EachFailureIsToldAndLeaksNothing) {
  constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
  FailEachCall<SealedRegion, &Calls::memfd_create>(EMFILE, kExhausted, 1);
  FailEachCall<SealedRegion, &Calls::ftruncate>(ENOSPC, kExhausted, 1);
  FailEachCall<SealedRegion, &Calls::mmap>(ENOMEM, kExhausted, 2);
  FailEachCall<SealedRegion, &Calls::madvise>(ENOMEM, kExhausted, 1);
  const NoLeaks no_leaks;
  {
    const Fault<&Calls::memfd_create> fault(kEvery, ENOSYS);
    EXPECT_EQ(SealedRegion::Create("alertpipe-test", 1).status().code(),
              absl::StatusCode::kUnimplemented);
  }
  const Fault<&Calls::fcntl> fault(kEvery, EINVAL);  // no seals at all
  EXPECT_FALSE(SealedRegion::Create("alertpipe-test", 1).ok());
  EXPECT_EQ(fault.count(), 2);
}

TEST(SharedRegion, EachFailureIsToldAndLeaksNothing) {
  constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
  FailEachCall<SharedRegion, &Calls::memfd_create>(EMFILE, kExhausted, 1);
  FailEachCall<SharedRegion, &Calls::ftruncate>(ENOSPC, kExhausted, 1);
  FailEachCall<SharedRegion, &Calls::mmap>(ENOMEM, kExhausted, 1);
  FailEachCall<SharedRegion, &Calls::fcntl>(ENOMEM, kExhausted, 1);
}

TEST(SharedRegion, IsWrittenByParentAndChild) {
  const NoLeaks no_leaks;
  absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 3 * PageBytes());
  ASSERT_TRUE(region.ok()) << region.status();
  const size_t page = PageBytes();
  std::strcpy(static_cast<char*>(region->At(page)), "from the parent");
  EXPECT_EQ(RunInChild([&] {
              char* const own = static_cast<char*>(region->At(page));
              CHILD_EXPECT(std::strcmp(own, "from the parent") == 0);
              CHILD_EXPECT(region->KeepOnly(page, page).ok());
              region->CloseFd();
              CHILD_EXPECT(region->fd() < 0);
              CHILD_EXPECT(region->At(page) == own);
              CHILD_EXPECT(region->At(page - 1) == nullptr && region->At(2 * page) == nullptr);
              CHILD_EXPECT(region->size() == 3 * page);
              CHILD_EXPECT(!IsMapped(own - page) && IsMapped(own) && !IsMapped(own + page));
              std::strcpy(own, "from the child");
              return 0;
            }),
            0);
  EXPECT_STREQ(static_cast<char*>(region->At(page)), "from the child");
  EXPECT_NE(region->At(0), nullptr);
}

TEST(SharedRegion, HasACloseOnExecDescriptorAndAFixedSize) {
  absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  EXPECT_NE(::fcntl(region->fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::ftruncate(region->fd(), 0), 0);
  EXPECT_NE(::ftruncate(region->fd(), 1 << 20), 0);
  EXPECT_NE(::fcntl(region->fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(SharedRegion, IsWrittenThroughInheritedMappingsOnly) {
  const NoLeaks no_leaks;
  absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  EXPECT_EQ(::mmap(nullptr, 1, PROT_WRITE, MAP_SHARED, region->fd(), 0), MAP_FAILED);
  EXPECT_LT(::pwrite(region->fd(), "x", 1, 0), 0);
  const Replace<&Calls::fcntl> old(&FcntlWithoutFutureWrite);
  EXPECT_TRUE(SharedRegion::Create("alertpipe-test", 1).ok()) << "an older kernel";
}

TEST(SharedRegion, KeepOnlyKeepsFirstLastAllOrNothing) {
  const size_t page = PageBytes();
  struct Case {
    size_t offset, length;
  };
  for (const Case c : {Case{0, page}, Case{2 * page, page}, Case{0, 3 * page}, Case{page, 0}}) {
    const NoLeaks no_leaks;
    absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 3 * page);
    ASSERT_TRUE(region.ok());
    ASSERT_TRUE(region->KeepOnly(c.offset, c.length).ok());
    for (size_t at = 0; at < 3 * page; at += page) {
      EXPECT_EQ(region->At(at) != nullptr, at >= c.offset && at < c.offset + c.length) << at;
    }
  }
}

TEST(SharedRegion, KeepOnlyNarrowsWhatAnEarlierOneKept) {
  const NoLeaks no_leaks;
  const size_t page = PageBytes();
  absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 4 * page);
  ASSERT_TRUE(region.ok());
  ASSERT_TRUE(region->KeepOnly(page, 3 * page).ok());
  EXPECT_FALSE(region->KeepOnly(0, page).ok());
  ASSERT_TRUE(region->KeepOnly(2 * page, page).ok());
  EXPECT_EQ(region->At(page), nullptr);
  EXPECT_NE(region->At(2 * page), nullptr);
  EXPECT_EQ(region->At(3 * page), nullptr);
}

TEST(SharedRegion, KeepOnlyRefusesWhatIsNotWholePagesOfTheRegion) {
  const NoLeaks no_leaks;
  const size_t page = PageBytes();
  absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 2 * page);
  ASSERT_TRUE(region.ok());
  struct Case {
    size_t offset, length;
  };
  const size_t huge = SIZE_MAX / page * page;
  for (const Case c : {Case{1, page}, Case{0, 1}, Case{0, 3 * page}, Case{2 * page, page},
                       Case{3 * page, 0}, Case{page, huge}, Case{huge, page}}) {
    EXPECT_EQ(region->KeepOnly(c.offset, c.length).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(region->At(0), nullptr);
    EXPECT_NE(region->At(page), nullptr);
  }
}

TEST(SharedRegion, WhatCouldNotBeGivenUpIsUnmappedAtTheEnd) {
  const size_t page = PageBytes();
  for (const int nth : {1, 2}) {
    const NoLeaks no_leaks;
    absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 3 * page);
    ASSERT_TRUE(region.ok());
    const Fault<&Calls::munmap> fault(nth, ENOMEM);
    EXPECT_EQ(region->KeepOnly(page, page).code(), absl::StatusCode::kResourceExhausted);
    EXPECT_NE(region->At(page), nullptr);
  }
}

}  // namespace
}  // namespace alertpipe::os
