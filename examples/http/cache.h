// SPDX-License-Identifier: Apache-2.0
//
// A cache in every worker, of an origin that all of them share. It is kept true by three events:
//
//   fetch KEY              to one worker of all (unique): read this from the origin
//   value KEY, REVISION    to all: this is what was read, or why that failed, and as of when
//   invalid KEY, REVISION  to each: what was read before this revision is too old
//
// A worker that misses a key asks for a fetch. The unique key has the origin's revision in it: all
// that miss the same at the same revision ask for the same, and one of them is heard. Whoever waits
// reads the origin itself when the value does not come (the one chosen was stopped), and asks anew
// when a worker has died (it may have been that one).
//
// Once a Put is done, nobody gets an older value. For:
//
// - The origin has the value before there is a revision of it, and the event is sent after that. A
//   reader notes the revision before it reads. So a value with this revision or a later one has the
//   write in it, and each worker that has heard of the write turns away all others, whenever they
//   come and from whomever. The order in which events arrive does not matter.
// - Put is done when each worker that lives has the event, and a barrier says that it has got so
//   far. That includes workers that are being replaced, which publications to all leave out: they
//   still have clients. What has arrived and waits to be handed out is handed out before the cache
//   is looked at (Poll).
// - A worker that starts later turns away what was read before it started. So nothing is retained
//   for it either.
// - Whoever has missed events (a gap: it did not keep up) forgets everything, and turns away what
//   was read before. So does everybody when a worker has died: that one may have written without
//   having told anyone.
#ifndef ALERTPIPE_EXAMPLES_HTTP_CACHE_H_
#define ALERTPIPE_EXAMPLES_HTTP_CACHE_H_

#include <alertpipe/alertpipe.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "later.h"
#include "options.h"
#include "origin.h"

namespace http_example {

struct CacheEvents {
  static constexpr alertpipe::EventName kFetch{"cache", "fetch"};
  static constexpr alertpipe::EventName kValue{"cache", "value"};
  static constexpr alertpipe::EventName kInvalid{"cache", "invalid"};
};

class Cache {
 public:
  struct Found {
    absl::Status status;
    Value value;
    bool hit = false;  // it was here
  };
  struct Counts {
    std::size_t keys = 0;     // whose value is here
    std::size_t reading = 0;  // reads of the origin under way
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t drops = 0;         // how often everything was forgotten
    std::uint64_t origin_reads = 0;  // by all workers together
  };
  using GetDone = std::function<void(const Found&)>;
  using PutDone = std::function<void(const absl::Status&)>;

  // What the events of a family with such caches need.
  static alertpipe::EventSettings Settings(const Options& options);
  static alertpipe::EventsOptions Rules();

  // Subscribes and is ready. `worker` and `origin` must outlive it.
  Cache(uv_loop_t* loop, alertpipe::Worker* worker, std::unique_ptr<alertpipe::Events> events,
        Origin* origin, const Options& options);

  // Calls `done`, at once or later: with a value that is no older than any Put that was done before
  // the call, or with kDeadlineExceeded.
  void Get(const std::string& key, GetDone done);
  // Writes a value, or removes it, and calls `done` when no worker will tell an older one any more;
  // with kDeadlineExceeded if that is not known of all in time: then it has been written.
  void Put(const std::string& key, const Value& value, PutDone done);

  Counts counts() const;

  // This worker is being replaced: nobody tells it values any more, only what is invalid.
  void Leave();
  // Nobody calls Get or Put any more. The loop has to turn once more.
  void Close();

 private:
  struct Entry {
    // As of when the value was read. If it is not here: older ones are turned away.
    std::uint64_t revision = 0;
    bool here = false;
    Value value;
  };
  // Those that wait for a value.
  struct Wait {
    std::uint64_t number = 0;
    std::vector<GetDone> done;
  };
  struct Change;  // a Put under way

  void Ask(const std::string& key);
  void Read(const std::string& key);
  void Watch(const std::string& key, std::uint64_t number, std::uint64_t waited_ms);
  void Answer(const std::string& key, const Found& found);
  void OnValue(const std::string& key, const Origin::Reading& reading);
  void OnInvalid(const std::string& key, std::uint64_t revision);
  void Set(const std::string& key, Entry entry);
  void Drop();
  void Tell(const std::shared_ptr<Change>& change);
  bool Confirm(const std::shared_ptr<Change>& change);

  alertpipe::Worker* const worker_;
  Origin* const origin_;
  const std::unique_ptr<alertpipe::Events> events_;
  const std::uint64_t origin_ms_;
  const std::uint64_t fetch_ms_;
  const std::uint64_t reply_ms_;
  Later later_;
  std::unordered_map<std::string, Entry> entries_;
  std::size_t bytes_ = 0;    // of all values
  std::uint64_t floor_ = 0;  // of keys without an entry: older values are turned away
  std::unordered_map<std::string, Wait> waits_;
  std::uint64_t last_wait_ = 0;
  bool leaving_ = false;
  Counts counts_;
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_CACHE_H_
