// SPDX-License-Identifier: Apache-2.0
//
// operator new, which is not a part of the seam: what the guide says of its failures.
#include <uv.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include <alertpipe/alertpipe.h>
#include <gtest/gtest.h>

namespace {

// How many more calls succeed; negative: all.
int g_left = -1;

void* Allocate(std::size_t bytes) {
  if (g_left == 0) throw std::bad_alloc();
  if (g_left > 0) --g_left;
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes); }
void* operator new[](std::size_t bytes) { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace alertpipe::faults {
namespace {

struct Family {
  Family() {
    MasterOptions options;
    options.workers_max = 1;
    options.pipe_capacity = 4096;
    master = Master::Create(options).value();
    uv_loop_init(&loop);
    EXPECT_TRUE(master->Attach(&loop).ok());
  }
  ~Family() {
    master.reset();
    uv_run(&loop, UV_RUN_NOWAIT);
    EXPECT_EQ(uv_loop_close(&loop), 0);
  }

  std::unique_ptr<Master> master;
  uv_loop_t loop;
};

TEST(New, ThrowsToTheProgramThatCalls) {
  const std::string name(200, 'n');
  Family family;
  bool thrown = false;
  g_left = 0;
  try {
    family.master->Receive(name, [](Alert&) {});
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  g_left = -1;
  EXPECT_TRUE(thrown);
  EXPECT_TRUE(family.master->Receive(name, [](Alert&) {}).ok());
}

// Notices of unhandled requests are kept until they can be written.
void RunOutOfMemoryInTheLoop() {
  Family family;
  for (int i = 0; i < 200; ++i)
    family.master->Request(To::Master(), "", "", absl::InfiniteDuration(), [](Response&) {});
  g_left = 0;
  for (int turn = 0; turn < 10; ++turn) uv_run(&family.loop, UV_RUN_NOWAIT);
  g_left = -1;
}

TEST(New, EndsTheProgramInsideTheLoop) {
  EXPECT_DEATH(RunOutOfMemoryInTheLoop(), "operator new failed inside the event loop");
}

}  // namespace
}  // namespace alertpipe::faults
