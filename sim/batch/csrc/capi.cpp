// The functions that native.py calls through ctypes, which releases Python's lock meanwhile.
#include <cstdint>
#include <vector>

#include "pool.hpp"

using batch::Pool;

extern "C" {

int batch_mujoco_version() { return mj_version(); }

void* batch_model_buffer(const mjModel* m) { return m->buffer; }

struct BatchOptions {
  int worlds, threads, pin, substeps;
  int arms, step_taps, observation_taps, segments;
};

// Without `linear_algebra` the controllers compute as is fastest, with it as robosuite does.
Pool* batch_new(const mjModel* m, mjData* const* data, const BatchOptions* options, const batch::ArmIndex* arms,
                const batch::Tap* step_taps, const batch::Tap* observation_taps, const uint32_t* geom_groups,
                const batch::Segment* segments, const batch::LinearAlgebra* linear_algebra) {
  batch::Layout layout;
  if (linear_algebra) layout.exact = std::make_unique<batch::Exact>(*linear_algebra);
  layout.arms.assign(arms, arms + options->arms);
  layout.step_taps.assign(step_taps, step_taps + options->step_taps);
  layout.observation_taps.assign(observation_taps, observation_taps + options->observation_taps);
  layout.geom_groups.assign(geom_groups, geom_groups + m->ngeom);
  layout.segments.assign(segments, segments + options->segments);
  layout.substeps = options->substeps;
  return new Pool(m, std::move(layout), std::vector<mjData*>(data, data + options->worlds), options->threads,
                  options->pin != 0);
}

void batch_delete(Pool* pool) { delete pool; }

void batch_set_parameters(Pool* pool, const mjtNum* values, int width) {
  for (int i = 0; i < pool->size(); i++) pool->world(i).SetParameters(values + static_cast<int64_t>(i) * width);
}

void batch_set_controller(Pool* pool, int world, mjtNum kp, mjtNum damping_ratio, int action_delay,
                          int observation_delay) {
  pool->world(world).SetGain(kp, damping_ratio);
  pool->world(world).SetDelays(action_delay, observation_delay);
}

// Worlds with a non-zero mask are reset. home (worlds, arms, 7), qpos (worlds, nq), qvel (worlds, nv).
void batch_reset(Pool* pool, const uint8_t* mask, const mjtNum* home, const mjtNum* qpos, const mjtNum* qvel,
                 mjtNum* observations) {
  const int arms = static_cast<int>(pool->layout().arms.size());
  const int width = Width(pool->layout().observation_taps);
  pool->ForEach([&](int i, mjModel* m) {
    if (!mask[i]) return;
    const int64_t n = i;
    pool->world(i).Reset(m, home + n * arms * batch::kJoints, qpos + n * m->nq, qvel + n * m->nv,
                         observations + n * width);
  });
}

// actions (worlds, horizon, arms * 7); world i executes the first steps[i]. step_rows (worlds, horizon, width).
void batch_step(Pool* pool, const mjtNum* actions, int horizon, const int* steps, mjtNum* step_rows,
                mjtNum* observations, uint8_t* diverged) {
  const int action_size = static_cast<int>(pool->layout().arms.size()) * batch::kActionPerArm;
  const int step_width = Width(pool->layout().step_taps);
  const int width = Width(pool->layout().observation_taps);
  pool->ForEach([&](int i, mjModel* m) {
    diverged[i] = 0;
    for (int t = 0; t < steps[i] && !diverged[i]; t++) {
      const int64_t at = static_cast<int64_t>(i) * horizon + t;
      diverged[i] = !pool->world(i).Step(m, actions + at * action_size, step_rows + at * step_width);
    }
    if (steps[i] > 0) pool->world(i).Observe(m, observations + static_cast<int64_t>(i) * width);
  });
}

int batch_state_size(Pool* pool) { return pool->world(0).StateSize(pool->model()); }

void batch_save(Pool* pool, mjtNum* states) {
  const int64_t size = batch_state_size(pool);
  pool->ForEach([&](int i, mjModel* m) { pool->world(i).Save(m, states + i * size); });
}

void batch_load(Pool* pool, const uint8_t* mask, const mjtNum* states) {
  const int64_t size = batch_state_size(pool);
  pool->ForEach([&](int i, mjModel* m) {
    if (mask[i]) pool->world(i).Load(m, states + i * size);
  });
}

}  // extern "C"
