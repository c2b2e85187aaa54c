// robosuite's OSC_POSE (fixed impedance, deltas on the achieved pose, base frame, decoupled) and its Panda gripper.
#pragma once

#include <mujoco/mujoco.h>

#include "exact.hpp"

namespace batch {

constexpr int kJoints = 7;
constexpr int kActionPerArm = 7;

// Where one arm lives in a model; the same layout as the ctypes structure in native.py.
struct ArmIndex {
  int qpos[kJoints];
  int dof[kJoints];
  int actuator[kJoints];
  int gripper_actuator[2];
  int grip_site;
  int base_site;
};

// What the controller measures, once per substep.
struct Measurement {
  mjtNum position[3];
  mjtNum rotation[9];
  mjtNum twist[6];
  mjtNum jacobian[6 * kJoints];
  mjtNum inertia[kJoints * kJoints];
  mjtNum q[kJoints];
  mjtNum dq[kJoints];
};

class ArmController {
 public:
  // With `exact`, which outlives the controller, sums are ordered as in robosuite; without, as is fastest.
  ArmController(const ArmIndex& index, const Exact* exact) : index_(index), exact_(exact) {}

  // Starts an episode: the posture held in the null space and the first measurement are those of `d` as it stands.
  // robosuite measures at reset and reads that again in the first substep, whatever happens in between.
  void Reset(const mjModel* m, const mjData* d, mjtNum* scratch);

  // A new action: six motion deltas and the gripper's sign. Called before Control in the same substep.
  void SetGoal(const mjModel* m, const mjData* d, const mjtNum* action, mjtNum* scratch);

  // Writes ctrl of this arm and its gripper.
  void Control(const mjModel* m, mjData* d, mjtNum* scratch);

  void SetGain(mjtNum kp, mjtNum damping_ratio);

  // Everything that the next step depends on, as `kStateSize` numbers.
  static constexpr int kStateSize = 3 + 9 + 2 + kJoints + 1 + sizeof(Measurement) / sizeof(mjtNum);
  void Save(mjtNum* state) const;
  void Load(const mjtNum* state);

 private:
  void Measure(const mjModel* m, const mjData* d, mjtNum* scratch);
  // The measured pose of the hand in the base frame.
  void Achieved(const mjData* d, mjtNum* position, mjtNum* rotation) const;

  ArmIndex index_;
  const Exact* exact_;
  mjtNum kp_ = 150.0;
  mjtNum kd_ = 24.494897427831781;  // 2 sqrt(kp)
  mjtNum posture_[kJoints] = {};
  mjtNum goal_position_[3] = {};
  mjtNum goal_rotation_[9] = {};
  mjtNum gripper_[2] = {};
  Measurement measured_ = {};
  bool first_ = false;         // the measurement of the reset is still to be used
  bool measured_now_ = false;  // SetGoal measured already in this substep
};

}  // namespace batch
