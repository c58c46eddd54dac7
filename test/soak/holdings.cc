// SPDX-License-Identifier: Apache-2.0
#include "holdings.h"

#include <dirent.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>

namespace alertpipe::soak {
namespace {

constexpr std::size_t kSamplesMax = 512;
constexpr std::size_t kWarmUp = 2;
constexpr std::size_t kEnough = 9;
// What may come and go: empty packets and one large block are kept for reuse.
constexpr std::int64_t kHeapSlack = 256 << 10;
constexpr std::int64_t kRssSlack = 4 << 20;

std::uint64_t CountDescriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::uint64_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count - 3;  // ".", ".." and the folder's own
}

std::uint64_t AnonymousBytes() {
  std::FILE* file = std::fopen("/proc/self/status", "re");
  if (file == nullptr) return 0;
  char line[128];
  unsigned long long kib = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "RssAnon: %llu kB", &kib) == 1) break;
  }
  std::fclose(file);
  return kib * 1024;
}

}  // namespace

Holdings MeasureOwn() {
  if (!kMeasuresMemory) return {0, 0, CountDescriptors()};
  const struct mallinfo2 heap = mallinfo2();
  return {heap.uordblks + heap.hblkhd, AnonymousBytes(), CountDescriptors()};
}

void Growth::Add(const Holdings& sample) {
  if (seen_++ % step_ != 0) return;
  samples_.push_back(sample);
  if (samples_.size() < kSamplesMax) return;
  // Every other one is enough.
  for (std::size_t i = 0; 2 * i < samples_.size(); ++i) samples_[i] = samples_[2 * i];
  samples_.resize(samples_.size() / 2);
  step_ *= 2;
}

std::int64_t Growth::Grown(std::uint64_t Holdings::*what) const {
  if (samples_.size() < kWarmUp + kEnough) return 0;
  const std::size_t third = (samples_.size() - kWarmUp) / 3;
  const auto less = [what](const Holdings& a, const Holdings& b) { return a.*what < b.*what; };
  const auto begin = samples_.begin() + kWarmUp;
  const auto first = std::max_element(begin, begin + static_cast<std::ptrdiff_t>(third), less);
  const auto last =
      std::min_element(samples_.end() - static_cast<std::ptrdiff_t>(third), samples_.end(), less);
  return static_cast<std::int64_t>((*last).*what) - static_cast<std::int64_t>((*first).*what);
}

std::string Growth::Verdict() const {
  if (heap_growth() > kHeapSlack) return "heap by " + std::to_string(heap_growth()) + " bytes";
  if (rss_growth() > kRssSlack)
    return "resident memory by " + std::to_string(rss_growth()) + " bytes";
  const std::int64_t descriptors = Grown(&Holdings::descriptors);
  if (descriptors > 0) return "descriptors by " + std::to_string(descriptors);
  return std::string();
}

Holdings Growth::most() const {
  Holdings most;
  for (const Holdings& sample : samples_) {
    most.heap_bytes = std::max(most.heap_bytes, sample.heap_bytes);
    most.rss_bytes = std::max(most.rss_bytes, sample.rss_bytes);
    most.descriptors = std::max(most.descriptors, sample.descriptors);
  }
  return most;
}

}  // namespace alertpipe::soak
