#include "pool.hpp"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace batch {
namespace {

void Pin(std::thread& thread, int core) {
#ifdef __linux__
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
  const int count = CPU_COUNT(&allowed);
  int wanted = core % count;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed) && wanted-- == 0) {
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
      return;
    }
#else
  (void)thread, (void)core;
#endif
}

}  // namespace

Pool::Pool(const mjModel* model, Layout layout, const std::vector<mjData*>& data, int threads, bool pin)
    : layout_(std::move(layout)), ranges_(threads) {
  for (mjData* d : data) worlds_.push_back(std::make_unique<World>(layout_, d));
  for (int i = 0; i < threads; i++) models_.push_back(mj_copyModel(nullptr, model));
  for (int i = 1; i < threads; i++) {
    threads_.emplace_back([this, i] { Loop(i); });
    if (pin) Pin(threads_.back(), i);
  }
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  for (mjModel* model : models_) mj_deleteModel(model);
}

void Pool::ForEach(const std::function<void(int, mjModel*)>& job) {
  const int count = static_cast<int>(ranges_.size());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (int i = 0; i < count; i++) {
      ranges_[i].next = static_cast<int>(static_cast<int64_t>(size()) * i / count);
      ranges_[i].end = static_cast<int>(static_cast<int64_t>(size()) * (i + 1) / count);
    }
    job_ = &job;
    busy_ = static_cast<int>(threads_.size());
    generation_++;
  }
  wake_.notify_all();
  Work(0);
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return busy_ == 0; });
}

void Pool::Work(int thread) {
  const int count = static_cast<int>(ranges_.size());
  for (int turn = 0; turn < count; turn++) {
    Range& range = ranges_[(thread + turn) % count];
    for (int i; (i = range.next.fetch_add(1)) < range.end;) {
      worlds_[i]->Apply(models_[thread]);
      (*job_)(i, models_[thread]);
    }
  }
}

void Pool::Loop(int thread) {
  uint64_t seen = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
    }
    Work(thread);
    std::lock_guard<std::mutex> lock(mutex_);
    if (--busy_ == 0) done_.notify_all();
  }
}

}  // namespace batch
