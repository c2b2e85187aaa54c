// Threads that share the worlds of a batch: each starts with a range of its own and helps the others when done.
#pragma once

#include <mujoco/mujoco.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "world.hpp"

namespace batch {

class Pool {
 public:
  // Each thread steps on a copy of `model`, into which it writes a world's own parameters first.
  Pool(const mjModel* model, Layout layout, const std::vector<mjData*>& data, int threads, bool pin);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Runs `job(world index, model)` for every world; returns when all are done. Called by one thread at a time.
  void ForEach(const std::function<void(int, mjModel*)>& job);

  World& world(int index) { return *worlds_[index]; }
  const Layout& layout() const { return layout_; }
  int size() const { return static_cast<int>(worlds_.size()); }
  const mjModel* model() const { return models_[0]; }

 private:
  struct alignas(64) Range {
    std::atomic<int> next{0};
    int end = 0;
  };

  void Loop(int thread);
  void Work(int thread);

  Layout layout_;
  std::vector<std::unique_ptr<World>> worlds_;
  std::vector<mjModel*> models_;
  std::vector<Range> ranges_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int, mjModel*)>* job_ = nullptr;
  uint64_t generation_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

}  // namespace batch
