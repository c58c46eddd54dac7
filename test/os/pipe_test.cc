// SPDX-License-Identifier: Apache-2.0

#include "os/pipe.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "support.h"

namespace alertpipe::os {
namespace {

IoResult WriteBytes(const PipeIo& io, int fd, size_t bytes, char fill = 'x') {
  const std::string data(bytes, fill);
  const iovec part = {const_cast<char*>(data.data()), data.size()};
  return io.Write(fd, &part, 1);
}

void FillUp(const PipeIo& io, const Pipe& pipe) {
  while (WriteBytes(io, pipe.write.get(), 4096).error == 0) {
  }
}

void ClearNonBlocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); }

bool IsNonBlocking(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

TEST(CreatePipe, GivesNonBlockingCloseOnExecEndsAndTheTrueCapacity) {
  const NoLeaks no_leaks;
  const absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok()) << pipe.status();
  for (const int fd : {pipe->read.get(), pipe->write.get()}) {
    EXPECT_TRUE(IsNonBlocking(fd));
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_EQ(pipe->capacity, static_cast<size_t>(::fcntl(pipe->read.get(), F_GETPIPE_SZ)));
}

TEST(CreatePipe, GrantsSmallerAndLargerCapacities) {
  for (const size_t wanted : {8192U, 262144U}) {
    const absl::StatusOr<Pipe> pipe = CreatePipe(wanted);
    ASSERT_TRUE(pipe.ok()) << pipe.status();
    EXPECT_EQ(pipe->capacity, static_cast<size_t>(::fcntl(pipe->read.get(), F_GETPIPE_SZ)));
  }
  EXPECT_EQ(CreatePipe(8192)->capacity, 8192U);
}

TEST(CreatePipe, TakesWhatItGetsWhenEnlargingIsNotAllowed) {
  for (const int error : {EPERM, ENOMEM}) {
    const Fault<&Calls::fcntl> fault(1, error);
    const absl::StatusOr<Pipe> pipe = CreatePipe(1U << 20U);
    ASSERT_TRUE(pipe.ok()) << pipe.status();
    EXPECT_EQ(pipe->capacity, static_cast<size_t>(::fcntl(pipe->read.get(), F_GETPIPE_SZ)));
    EXPECT_LT(pipe->capacity, 1U << 20U);
  }
}

TEST(CreatePipe, TakesWhatItGetsAsAnOrdinaryUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become an ordinary user";
  EXPECT_EQ(RunInChild([] {
              CHILD_EXPECT(::setgid(65534) == 0 && ::setuid(65534) == 0);
              const absl::StatusOr<Pipe> pipe = CreatePipe(size_t{1} << 30U);
              CHILD_EXPECT(pipe.ok());
              CHILD_EXPECT(pipe->capacity >= 4096 && pipe->capacity < (1U << 30U));
              return 0;
            }),
            0);
}

TEST(CreatePipe, RefusesWhatTheKernelCouldNotEvenBeAsked) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(size_t{1} << 31U);
  EXPECT_EQ(pipe.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pipe.status().message(),
            "pipe capacity cannot exceed 2147483647 bytes, was 2147483648");
}

TEST(CreatePipe, EachFailureIsToldAndLeaksNothing) {
  const NoLeaks no_leaks;
  {
    const Fault<&Calls::pipe2> fault(1, EMFILE);
    EXPECT_EQ(CreatePipe(0).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(fault.fired());
  }
  {
    const Fault<&Calls::fcntl> fault(1, EINVAL);  // F_SETPIPE_SZ
    EXPECT_EQ(CreatePipe(8192).status().message(),
              "fcntl(F_SETPIPE_SZ, 8192): Invalid argument (errno 22)");
  }
  {
    const Fault<&Calls::fcntl> fault(2, EBADF);  // F_GETPIPE_SZ
    EXPECT_FALSE(CreatePipe(8192).ok());
    EXPECT_TRUE(fault.fired());
  }
}

TEST(PipeIo, WritesAPacketWholeOrNotAtAll) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(8192);
  ASSERT_TRUE(pipe.ok());
  const PipeIo io;
  EXPECT_EQ(WriteBytes(io, pipe->write.get(), 4096).bytes, 4096U);
  EXPECT_EQ(WriteBytes(io, pipe->write.get(), 4000).bytes, 4000U);
  const IoResult refused = WriteBytes(io, pipe->write.get(), 97);
  EXPECT_EQ(refused.bytes, 0U);
  EXPECT_EQ(refused.error, EAGAIN);
  EXPECT_EQ(WriteBytes(io, pipe->write.get(), 96).bytes, 96U);
}

TEST(PipeIo, WritesPartsInOrder) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  char header[] = "head";
  char body[] = "body";
  const iovec parts[] = {{header, 4}, {body, 0}, {body, 4}};
  const PipeIo io;
  EXPECT_EQ(io.Write(pipe->write.get(), parts, 3).bytes, 8U);
  char seen[16];
  const IoResult read = io.Read(pipe->read.get(), seen, sizeof(seen));
  EXPECT_EQ(std::string(seen, read.bytes), "headbody");
}

TEST(PipeIo, TellsEmptyEndOfFileAndDamageApart) {
  absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  char byte;
  const PipeIo io;
  EXPECT_EQ(io.Read(pipe->read.get(), &byte, 1).error, EAGAIN);
  pipe->write.reset();
  const IoResult end = io.Read(pipe->read.get(), &byte, 1);
  EXPECT_EQ(end.bytes, 0U);
  EXPECT_EQ(end.error, 0);
  EXPECT_EQ(io.Read(-1, &byte, 1).error, EBADF);
}

TEST(PipeIo, MakesOneSystemCallAndRepeatsOnlyInterruptedOnes) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  const PipeIo io;
  char byte;
  for (const bool interrupted : {false, true}) {
    const Fault<&Calls::pwritev2> writes(interrupted ? 1 : kNone, EINTR);
    const Fault<&Calls::preadv2> reads(interrupted ? 1 : kNone, EINTR);
    EXPECT_EQ(WriteBytes(io, pipe->write.get(), 1).bytes, 1U);
    EXPECT_EQ(io.Read(pipe->read.get(), &byte, 1).bytes, 1U);
    EXPECT_EQ(writes.count(), interrupted ? 2 : 1);
    EXPECT_EQ(reads.count(), interrupted ? 2 : 1);
  }
  {
    const Fault<&Calls::pwritev2> writes(1, ENOMEM);
    EXPECT_EQ(WriteBytes(io, pipe->write.get(), 1).error, ENOMEM);
    EXPECT_EQ(writes.count(), 1);
  }
}

// A relative clears O_NONBLOCK, which is shared. The alarm of the child ends what blocks.
int ReadAndWriteAfterARelativeClearedNonBlocking(const PipeIo& io, const Pipe& pipe, int read_fd,
                                                 int write_fd) {
  const pid_t relative = ::fork();
  if (relative == 0) {
    ClearNonBlocking(pipe.read.get());
    ClearNonBlocking(pipe.write.get());
    ::_exit(0);
  }
  CHILD_EXPECT(Wait(relative) == 0);
  CHILD_EXPECT(!IsNonBlocking(pipe.read.get()) && !IsNonBlocking(pipe.write.get()));
  char byte;
  CHILD_EXPECT(io.Read(read_fd, &byte, 1).error == EAGAIN);
  CHILD_EXPECT(WriteBytes(io, write_fd, 4096).bytes == 4096);
  CHILD_EXPECT(WriteBytes(io, write_fd, 4096).bytes == 4096);
  CHILD_EXPECT(WriteBytes(io, write_fd, 4096).error == EAGAIN);
  CHILD_EXPECT(WriteBytes(io, write_fd, 1).error == EAGAIN);
  return 0;
}

TEST(PipeIo, DoesNotBlockAfterARelativeClearedNonBlocking) {
  const absl::StatusOr<Kernel> kernel = ProbeKernel();
  ASSERT_TRUE(kernel.ok());
  if (!kernel->nowait) GTEST_SKIP() << "this kernel has no RWF_NOWAIT for pipes";
  const absl::StatusOr<Pipe> pipe = CreatePipe(8192);
  ASSERT_TRUE(pipe.ok());
  EXPECT_EQ(RunInChild([&] {
              return ReadAndWriteAfterARelativeClearedNonBlocking(
                  PipeIo(*kernel), *pipe, pipe->read.get(), pipe->write.get());
            }),
            0);
}

TEST(PipeIo,
     PlainReadsBlockAfterARelativeClearedNonBlocking) {  // shows that the test above can fail
  const absl::StatusOr<Pipe> pipe = CreatePipe(8192);
  ASSERT_TRUE(pipe.ok());
  const int code = RunInChild([&] {
    ::alarm(1);
    return ReadAndWriteAfterARelativeClearedNonBlocking(PipeIo(), *pipe, pipe->read.get(),
                                                        pipe->write.get());
  });
  EXPECT_EQ(code, 1000 + SIGALRM);
}

TEST(MakePrivate, KeepsPlainReadsAndWritesNonBlocking) {
  absl::StatusOr<Pipe> pipe = CreatePipe(8192);
  ASSERT_TRUE(pipe.ok());
  EXPECT_EQ(RunInChild([&] {
              UniqueFd read(::dup(pipe->read.get()));
              UniqueFd write(::dup(pipe->write.get()));
              CHILD_EXPECT(MakePrivate(read, O_RDONLY).ok());
              CHILD_EXPECT(MakePrivate(write, O_WRONLY).ok());
              CHILD_EXPECT((::fcntl(read.get(), F_GETFD) & FD_CLOEXEC) != 0);
              CHILD_EXPECT((::fcntl(write.get(), F_GETFD) & FD_CLOEXEC) != 0);
              return ReadAndWriteAfterARelativeClearedNonBlocking(PipeIo(), *pipe, read.get(),
                                                                  write.get());
            }),
            0);
}

TEST(MakePrivate, StaysOnTheSamePipe) {
  const NoLeaks no_leaks;
  absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  const PipeIo io;
  WriteBytes(io, pipe->write.get(), 3, 'a');
  ASSERT_TRUE(MakePrivate(pipe->read, O_RDONLY).ok());
  ASSERT_TRUE(MakePrivate(pipe->write, O_WRONLY).ok());
  WriteBytes(io, pipe->write.get(), 2, 'b');
  char seen[8];
  const IoResult read = io.Read(pipe->read.get(), seen, sizeof(seen));
  EXPECT_EQ(std::string(seen, read.bytes), "aaabb");
}

TEST(MakePrivate, LeavesTheDescriptorAloneWithoutProc) {
  const NoLeaks no_leaks;
  absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  const int before = pipe->read.get();
  const Fault<&Calls::open> no_proc(kEvery, ENOENT);
  EXPECT_EQ(MakePrivate(pipe->read, O_RDONLY).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(pipe->read.get(), before);
  WriteBytes(PipeIo(), pipe->write.get(), 1);
  char byte;
  EXPECT_EQ(PipeIo().Read(pipe->read.get(), &byte, 1).bytes, 1U);
}

TEST(MakePrivate, IsDeniedToAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  EXPECT_EQ(RunInChild([&] {
              CHILD_EXPECT(::setgid(65534) == 0 && ::setuid(65534) == 0);
              const absl::Status status = MakePrivate(pipe->read, O_RDONLY);
              CHILD_EXPECT(status.code() == absl::StatusCode::kPermissionDenied);
              return 0;
            }),
            0);
}

TEST(RestoreNonBlocking, PutsTheFlagBackAndSaysSo) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(0);
  ASSERT_TRUE(pipe.ok());
  const int fd = pipe->read.get();
  EXPECT_FALSE(RestoreNonBlocking(fd));
  ClearNonBlocking(fd);
  EXPECT_TRUE(RestoreNonBlocking(fd));
  EXPECT_TRUE(IsNonBlocking(fd));
  EXPECT_FALSE(RestoreNonBlocking(fd));
  EXPECT_FALSE(RestoreNonBlocking(-1));
}

TEST(PipeIo, DeadReaderIsAnErrorAndNoSignal) {
  const absl::StatusOr<Kernel> kernel = ProbeKernel();
  ASSERT_TRUE(kernel.ok());
  if (!kernel->nosignal) GTEST_SKIP() << "this kernel has no RWF_NOSIGNAL";
  EXPECT_EQ(RunInChild([&] {
              ::signal(SIGPIPE, SIG_DFL);
              absl::StatusOr<Pipe> pipe = CreatePipe(0);
              pipe->read.reset();
              CHILD_EXPECT(WriteBytes(PipeIo(*kernel), pipe->write.get(), 1).error == EPIPE);
              return 0;
            }),
            0);
}

TEST(PipeIo, DeadReaderKillsAPlainWriter) {  // shows that the test above can fail
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              absl::StatusOr<Pipe> pipe = CreatePipe(0);
              pipe->read.reset();
              WriteBytes(PipeIo(), pipe->write.get(), 1);
              return 0;
            }),
            1000 + SIGPIPE);
}

TEST(PipeIo, ReadersFindRoomOnlyInWholePages) {
  const absl::StatusOr<Pipe> pipe = CreatePipe(8192);
  ASSERT_TRUE(pipe.ok());
  const PipeIo io;
  FillUp(io, *pipe);
  std::vector<char> seen(4096);
  EXPECT_EQ(io.Read(pipe->read.get(), seen.data(), 4095).bytes, 4095U);
  EXPECT_EQ(WriteBytes(io, pipe->write.get(), 1).error, EAGAIN);
  EXPECT_EQ(io.Read(pipe->read.get(), seen.data(), 1).bytes, 1U);
  EXPECT_EQ(WriteBytes(io, pipe->write.get(), 4096).bytes, 4096U);
}

TEST(HasNoReader, SaysWhetherTheOtherEndIsOpen) {
  absl::StatusOr<Pipe> pipe = CreatePipe(4096);
  ASSERT_TRUE(pipe.ok());
  EXPECT_FALSE(HasNoReader(pipe->write.get()));
  const std::string full(4096, 'x');
  const iovec part = {const_cast<char*>(full.data()), full.size()};
  ASSERT_EQ(PipeIo().Write(pipe->write.get(), &part, 1).error, 0);
  EXPECT_FALSE(HasNoReader(pipe->write.get()));
  pipe->read.reset();
  EXPECT_TRUE(HasNoReader(pipe->write.get()));
}

}  // namespace
}  // namespace alertpipe::os
