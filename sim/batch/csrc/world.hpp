// One world: a robosuite environment's step, without Python.
#pragma once

#include <mujoco/mujoco.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "osc.hpp"

namespace batch {

// A number, or a few, to be read out of a world. Same values as the enumeration in taps.py.
enum class TapKind : int { kQpos, kQvel, kBodyPosition, kBodyQuat, kSitePosition, kGeomPosition, kTouch };

struct Tap {
  TapKind kind;
  int id;     // address, object id, or for kTouch the first group of geoms
  int count;  // numbers written; for kTouch the second group of geoms, one number is written
};

// A run of model parameters that differ between worlds.
struct Segment {
  int64_t offset;  // bytes from the model's buffer; negative: stat.meaninertia
  int64_t count;   // mjtNum values
};

// What all worlds of a pool have in common.
struct Layout {
  std::vector<ArmIndex> arms;
  std::vector<Tap> step_taps;         // read after the last substep, positions one substep old as robosuite's reward
  std::vector<Tap> observation_taps;  // read from the up-to-date state
  std::vector<uint32_t> geom_groups;  // a bit mask per geom, for kTouch
  std::vector<Segment> segments;
  int substeps = 25;
  std::unique_ptr<Exact> exact;  // null: the fast arithmetic
};

int Width(const std::vector<Tap>& taps);

class World {
 public:
  World(const Layout& layout, mjData* data);

  // `qpos` and `qvel` become the state; the controllers start from the arms at `home`, (arms, 7).
  void Reset(mjModel* m, const mjtNum* home, const mjtNum* qpos, const mjtNum* qvel, mjtNum* observation);

  // One control step. `step_row` receives the step taps. Returns false when the simulation diverged.
  bool Step(mjModel* m, const mjtNum* action, mjtNum* step_row);

  void Observe(const mjModel* m, mjtNum* row) const;
  void SetGain(mjtNum kp, mjtNum damping_ratio);
  void SetDelays(int action_substeps, int observation_substeps);
  void SetParameters(const mjtNum* values) { parameters_ = values; }
  void Apply(mjModel* m) const;

  int StateSize(const mjModel* m) const;
  void Save(const mjModel* m, mjtNum* state) const;
  void Load(mjModel* m, const mjtNum* state);

 private:
  void Read(const mjModel* m, const std::vector<Tap>& taps, mjtNum* row) const;
  bool Touching(const mjModel* m, int first_group, int second_group) const;

  const Layout* layout_;
  mjData* d_;
  std::vector<ArmController> arms_;
  std::vector<mjtNum> scratch_;
  std::vector<mjtNum> late_;  // the observation of `observation_delay_` substeps ago
  const mjtNum* parameters_ = nullptr;
  int action_delay_ = 0;
  int observation_delay_ = 0;
};

}  // namespace batch
