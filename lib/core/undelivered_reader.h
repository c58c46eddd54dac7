// SPDX-License-Identifier: Apache-2.0
//
// Walks what was taken out of a failed outbox alert by alert, and frees it on the way. An alert
// whose beginning had already left comes without its data.
#ifndef ALERTPIPE_CORE_UNDELIVERED_READER_H_
#define ALERTPIPE_CORE_UNDELIVERED_READER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/outbox.h"
#include "core/packet.h"
#include "core/segment.h"

namespace alertpipe::core {

class UndeliveredReader {
 public:
  struct Item {
    std::uint64_t alert_id = 0;
    std::string_view name;
    std::string_view data;
    bool has_data = false;
    std::uint8_t flags = 0;
    std::uint64_t request_id = 0;
  };

  UndeliveredReader(const FailedRun& run, SegmentPool* pool);
  UndeliveredReader(const UndeliveredReader&) = delete;
  UndeliveredReader& operator=(const UndeliveredReader&) = delete;
  ~UndeliveredReader();

  // The next alert; its views are valid until the next call. False at the end.
  bool Next(Item* item);

 private:
  bool TakeRecord(Item* item);
  void Enter(Segment* segment);
  void DropCurrent();

  SegmentPool* pool_;
  Segment* current_;  // null at the end
  bool entered_ = false;
  RecordReader records_;
  std::uint64_t next_id_ = 0;  // of the next alert that starts
  AlertHead alert_;            // the one that is being put together
  Bulk* bulk_ = nullptr;       // its bulk, once that has been passed
  bool first_here_ = false;    // its first part is in joined_
  std::size_t joined_bytes_ = 0;
  char joined_[2 * kPacketBytesMax];
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_UNDELIVERED_READER_H_
