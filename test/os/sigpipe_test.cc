// SPDX-License-Identifier: Apache-2.0
//
// Everything here changes the disposition of SIGPIPE, so it happens in children.

#include "os/sigpipe.h"

#include <optional>

#include "gtest/gtest.h"
#include "os/pipe.h"
#include "support.h"

namespace alertpipe::os {
namespace {

void UsersHandler(int /*signal*/) {}

void (*Disposition())(int) {
  struct sigaction action = {};
  ::sigaction(SIGPIPE, nullptr, &action);
  return action.sa_handler;
}

int WriteToDeadReader() {
  absl::StatusOr<Pipe> pipe = CreatePipe(0);
  pipe->read.reset();
  char byte = 0;
  const iovec part = {&byte, 1};
  return PipeIo().Write(pipe->write.get(), &part, 1).error;
}

TEST(SigpipeIgnore, TurnsTheSignalIntoAnError) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              const SigpipeIgnore ignore((Kernel()));
              CHILD_EXPECT(ignore.active());
              CHILD_EXPECT(WriteToDeadReader() == EPIPE);
              return 0;
            }),
            0);
}

TEST(SigpipeIgnore, PutsTheDefaultBackAtItsEnd) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              { const SigpipeIgnore ignore((Kernel())); }
              CHILD_EXPECT(Disposition() == SIG_DFL);
              WriteToDeadReader();
              return 0;
            }),
            1000 + SIGPIPE);
}

TEST(SigpipeIgnore, DoesNothingWhereWritesCarryTheFlag) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              Kernel kernel;
              kernel.nosignal = true;
              const SigpipeIgnore ignore(kernel);
              CHILD_EXPECT(!ignore.active() && Disposition() == SIG_DFL);
              return 0;
            }),
            0);
}

TEST(SigpipeIgnore, LeavesTheProgramsOwnChoiceAlone) {
  for (void (*const choice)(int) : {&UsersHandler, SIG_IGN}) {
    EXPECT_EQ(RunInChild([choice] {
                ::signal(SIGPIPE, choice);
                {
                  const SigpipeIgnore ignore((Kernel()));
                  CHILD_EXPECT(!ignore.active() && Disposition() == choice);
                  CHILD_EXPECT(WriteToDeadReader() == EPIPE);
                }
                CHILD_EXPECT(Disposition() == choice);
                return 0;
              }),
              0);
  }
}

TEST(SigpipeIgnore, LeavesALaterChoiceAloneAtItsEnd) {
  for (void (*const choice)(int) : {&UsersHandler, SIG_IGN}) {
    EXPECT_EQ(RunInChild([choice] {
                ::signal(SIGPIPE, SIG_DFL);
                {
                  const SigpipeIgnore ignore((Kernel()));
                  CHILD_EXPECT(ignore.active());
                  ::signal(SIGPIPE, choice);
                }
                CHILD_EXPECT(Disposition() == choice);
                return 0;
              }),
              0);
  }
}

TEST(SigpipeIgnore, LastsAsLongAsTheLastObject) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              std::optional<SigpipeIgnore> first(std::in_place, Kernel());
              std::optional<SigpipeIgnore> second(std::in_place, Kernel());
              const SigpipeIgnore moved(*std::move(first));
              first.reset();
              CHILD_EXPECT(WriteToDeadReader() == EPIPE);
              *second = SigpipeIgnore(Kernel());
              CHILD_EXPECT(WriteToDeadReader() == EPIPE);
              second.reset();
              CHILD_EXPECT(WriteToDeadReader() == EPIPE);
              return 0;
            }),
            0);
}

TEST(SigpipeIgnore, IsSetUpAgainAfterTheProgramWentBackToTheDefault) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              const SigpipeIgnore masters((Kernel()));
              ::signal(SIGPIPE, SIG_DFL);  // as a worker does after its fork
              const SigpipeIgnore workers((Kernel()));
              CHILD_EXPECT(WriteToDeadReader() == EPIPE);
              return 0;
            }),
            0);
}

TEST(SigpipeIgnore, DoesNotReachThroughExec) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGPIPE, SIG_DFL);
              const SigpipeIgnore ignore((Kernel()));
              // The shell dies of its own SIGPIPE, unless it inherited an ignored one.
              ::execl("/bin/sh", "sh", "-c", "kill -PIPE $$; exit 5", static_cast<char*>(nullptr));
              return 6;
            }),
            1000 + SIGPIPE);
}

TEST(SigpipeIgnore, IsInactiveWhenTheDispositionCannotBeSet) {
  for (const int nth : {1, 2}) {
    EXPECT_EQ(RunInChild([nth] {
                ::signal(SIGPIPE, SIG_DFL);
                {
                  const Fault<&Calls::sigaction> fault(nth, EINVAL);
                  const SigpipeIgnore ignore((Kernel()));
                  CHILD_EXPECT(fault.fired() && !ignore.active());
                }
                CHILD_EXPECT(Disposition() == SIG_DFL);
                return 0;
              }),
              0);
  }
}

}  // namespace
}  // namespace alertpipe::os
