#include "osc.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace batch {
namespace {

constexpr mjtNum kTranslationScale = 0.05;
constexpr mjtNum kRotationScale = 0.5;
constexpr mjtNum kPostureKp = 10.0;
constexpr mjtNum kGripperSpeed = 0.2;
constexpr mjtNum kSmallestPivot = 1e-12;

mjtNum Clip(mjtNum value, mjtNum low, mjtNum high) { return std::min(high, std::max(low, value)); }

// In place: the lower triangle of `a` becomes its Cholesky factor.
template <int n>
void Factorise(mjtNum* a) {
  for (int j = 0; j < n; j++) {
    mjtNum pivot = a[j * n + j];
    for (int k = 0; k < j; k++) pivot -= a[j * n + k] * a[j * n + k];
    pivot = std::sqrt(std::max(pivot, kSmallestPivot));
    a[j * n + j] = pivot;
    for (int i = j + 1; i < n; i++) {
      mjtNum rest = a[i * n + j];
      for (int k = 0; k < j; k++) rest -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = rest / pivot;
    }
  }
}

template <int n>
void Solve(const mjtNum* factor, mjtNum* x) {
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) x[i] -= factor[i * n + k] * x[k];
    x[i] /= factor[i * n + i];
  }
  for (int i = n - 1; i >= 0; i--) {
    for (int k = i + 1; k < n; k++) x[i] -= factor[k * n + i] * x[k];
    x[i] /= factor[i * n + i];
  }
}

void Project3(mjtNum* out, const mjtNum* a, const mjtNum* x) {
  for (int i = 0; i < 3; i++) out[i] = a[3 * i] * x[0] + a[3 * i + 1] * x[1] + a[3 * i + 2] * x[2];
}

void Multiply3(mjtNum* out, const mjtNum* a, const mjtNum* b) {
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
}

void TransposeMultiply3(mjtNum* out, const mjtNum* a, const mjtNum* b) {
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) out[3 * i + j] = a[i] * b[j] + a[3 + i] * b[3 + j] + a[6 + i] * b[6 + j];
}

// (3, 3) rotation of an axis-angle vector. robosuite goes through single precision, where one digit less or more is
// worth 1e-9 rad at once: the order of operations is robosuite's, the squared norm is summed up as BLAS does it.
void RotationOf(const mjtNum* axis_angle, mjtNum* out) {
  const mjtNum angle = std::sqrt(axis_angle[0] * axis_angle[0] + axis_angle[1] * axis_angle[1] +
                                 axis_angle[2] * axis_angle[2]);
  float q[4] = {1, 0, 0, 0};
  if (angle != 0) {
    q[0] = static_cast<float>(std::cos(angle / 2));
    for (int i = 0; i < 3; i++) q[1 + i] = static_cast<float>(axis_angle[i] / angle * std::sin(angle / 2));
  }
  double squared_norm = 0;
  for (const float value : q) squared_norm += value * value;
  const double scale = std::sqrt(2.0 / static_cast<float>(squared_norm));
  for (float& value : q) value = static_cast<float>(value * scale);
  const auto p = [&q](int i, int j) { return q[i] * q[j]; };
  const double rotation[9] = {1.0 - p(2, 2) - p(3, 3), p(1, 2) - p(3, 0),       p(1, 3) + p(2, 0),
                              p(1, 2) + p(3, 0),       1.0 - p(1, 1) - p(3, 3), p(2, 3) - p(1, 0),
                              p(1, 3) - p(2, 0),       p(2, 3) + p(1, 0),       1.0 - p(1, 1) - p(2, 2)};
  std::memcpy(out, rotation, sizeof rotation);
}

// As Exact::Torques, in the order of sums that is fastest.
void FastTorques(const Measurement& now, const mjtNum* force, const mjtNum* torque, const mjtNum* u,
                 const mjtNum* bias, mjtNum* out) {
  // inverse of the inertia felt at the hand: whole, and of translation and rotation apart
  const mjtNum* jacobian = now.jacobian;
  mjtNum factor[kJoints * kJoints], inverse_jt[6 * kJoints];
  std::memcpy(factor, now.inertia, sizeof factor);
  Factorise<kJoints>(factor);
  std::memcpy(inverse_jt, jacobian, sizeof inverse_jt);
  for (int row = 0; row < 6; row++) Solve<kJoints>(factor, inverse_jt + kJoints * row);
  mjtNum mobility[36], linear[9], angular[9];
  for (int r = 0; r < 6; r++)
    for (int c = 0; c <= r; c++) {
      mjtNum sum = 0;
      for (int i = 0; i < kJoints; i++) sum += jacobian[r * kJoints + i] * inverse_jt[c * kJoints + i];
      mobility[r * 6 + c] = mobility[c * 6 + r] = sum;
    }
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) {
      linear[3 * i + j] = mobility[6 * i + j];
      angular[3 * i + j] = mobility[6 * (i + 3) + j + 3];
    }
  mjtNum wrench[6];
  std::memcpy(wrench, force, 3 * sizeof(mjtNum));
  std::memcpy(wrench + 3, torque, 3 * sizeof(mjtNum));
  Factorise<3>(linear);
  Factorise<3>(angular);
  Solve<3>(linear, wrench);
  Solve<3>(angular, wrench + 3);

  // posture torques M u, less what of them moves the hand: J^T Lambda J u
  mjtNum moved[6];
  for (int row = 0; row < 6; row++) {
    moved[row] = 0;
    for (int i = 0; i < kJoints; i++) moved[row] += jacobian[row * kJoints + i] * u[i];
  }
  Factorise<6>(mobility);
  Solve<6>(mobility, moved);

  for (int i = 0; i < kJoints; i++) {
    out[i] = bias[i];
    for (int k = 0; k < kJoints; k++) out[i] += now.inertia[i * kJoints + k] * u[k];
    for (int row = 0; row < 6; row++) out[i] += jacobian[row * kJoints + i] * (wrench[row] - moved[row]);
  }
}

}  // namespace

void ArmController::Measure(const mjModel* m, const mjData* d, mjtNum* scratch) {
  const int nv = m->nv;
  Measurement& now = measured_;
  std::memcpy(now.position, d->site_xpos + 3 * index_.grip_site, sizeof now.position);
  std::memcpy(now.rotation, d->site_xmat + 9 * index_.grip_site, sizeof now.rotation);
  mj_jacSite(m, d, scratch, scratch + 3 * nv, index_.grip_site);
  std::memset(now.inertia, 0, sizeof now.inertia);
  for (int i = 0; i < kJoints; i++) {
    now.q[i] = d->qpos[index_.qpos[i]];
    now.dq[i] = d->qvel[index_.dof[i]];
    for (int row = 0; row < 6; row++) now.jacobian[row * kJoints + i] = scratch[row * nv + index_.dof[i]];
    // the arm's block of the sparse inertia: walk from this joint towards the base
    int address = m->dof_Madr[index_.dof[i]];
    for (int dof = index_.dof[i]; dof >= 0; dof = m->dof_parentid[dof], address++)
      for (int k = 0; k <= i; k++)
        if (index_.dof[k] == dof) now.inertia[i * kJoints + k] = now.inertia[k * kJoints + i] = d->qM[address];
  }
  if (exact_) {
    exact_->Project(now.twist, scratch, nv, d->qvel);
    exact_->Project(now.twist + 3, scratch + 3 * nv, nv, d->qvel);
    return;
  }
  for (int row = 0; row < 6; row++) {
    mjtNum sum = 0;
    for (int i = 0; i < kJoints; i++) sum += now.jacobian[row * kJoints + i] * now.dq[i];
    now.twist[row] = sum;
  }
}

void ArmController::Reset(const mjModel* m, const mjData* d, mjtNum* scratch) {
  Measure(m, d, scratch);
  Achieved(d, goal_position_, goal_rotation_);
  std::memcpy(posture_, measured_.q, sizeof posture_);
  gripper_[0] = gripper_[1] = 0;
  first_ = true;
  measured_now_ = false;
}

void ArmController::Achieved(const mjData* d, mjtNum* position, mjtNum* rotation) const {
  const mjtNum* origin = d->site_xpos + 3 * index_.base_site;
  const mjtNum* base = d->site_xmat + 9 * index_.base_site;
  if (exact_) return exact_->Localise(origin, base, measured_.position, measured_.rotation, position, rotation);
  for (int i = 0; i < 3; i++) {
    position[i] = 0;
    for (int k = 0; k < 3; k++) position[i] += base[3 * k + i] * (measured_.position[k] - origin[k]);
  }
  TransposeMultiply3(rotation, base, measured_.rotation);
}

void ArmController::SetGain(mjtNum kp, mjtNum damping_ratio) {
  kp_ = kp;
  kd_ = 2 * std::sqrt(kp) * damping_ratio;
}

void ArmController::SetGoal(const mjModel* m, const mjData* d, const mjtNum* action, mjtNum* scratch) {
  if (!first_) Measure(m, d, scratch);
  measured_now_ = true;
  mjtNum delta[6], achieved[9], turn[9];
  for (int i = 0; i < 6; i++) delta[i] = Clip(action[i], -1, 1) * (i < 3 ? kTranslationScale : kRotationScale);
  Achieved(d, goal_position_, achieved);
  for (int i = 0; i < 3; i++) goal_position_[i] += delta[i];
  RotationOf(delta + 3, turn);
  exact_ ? exact_->Multiply3(goal_rotation_, turn, achieved) : Multiply3(goal_rotation_, turn, achieved);
  const mjtNum sign = (action[6] > 0) - (action[6] < 0);
  gripper_[0] = Clip(gripper_[0] - kGripperSpeed * sign, -1, 1);
  gripper_[1] = Clip(gripper_[1] + kGripperSpeed * sign, -1, 1);
}

void ArmController::Control(const mjModel* m, mjData* d, mjtNum* scratch) {
  if (!first_ && !measured_now_) Measure(m, d, scratch);
  first_ = measured_now_ = false;
  const Measurement& now = measured_;

  // desired accelerations of the hand, and of the joints towards the posture
  const mjtNum* origin = d->site_xpos + 3 * index_.base_site;
  const mjtNum* base = d->site_xmat + 9 * index_.base_site;
  mjtNum goal[3], desired[9], force[3], torque[3], u[kJoints], bias[kJoints], torques[kJoints];
  exact_ ? exact_->Project(goal, base, 3, goal_position_) : Project3(goal, base, goal_position_);
  exact_ ? exact_->Multiply3(desired, base, goal_rotation_) : Multiply3(desired, base, goal_rotation_);
  for (int i = 0; i < 3; i++) {
    const int a = (i + 1) % 3, b = (i + 2) % 3;
    mjtNum turn[3];  // cross products of the present and the desired axes
    for (int axis = 0; axis < 3; axis++)
      turn[axis] =
          now.rotation[3 * a + axis] * desired[3 * b + axis] - now.rotation[3 * b + axis] * desired[3 * a + axis];
    force[i] = (origin[i] + goal[i] - now.position[i]) * kp_ - now.twist[i] * kd_;
    torque[i] = 0.5 * (turn[0] + turn[1] + turn[2]) * kp_ - now.twist[3 + i] * kd_;
  }
  const mjtNum posture_kd = 2 * std::sqrt(kPostureKp);
  for (int i = 0; i < kJoints; i++) {
    u[i] = kPostureKp * (posture_[i] - now.q[i]) - posture_kd * now.dq[i];
    bias[i] = d->qfrc_bias[index_.dof[i]];
  }
  exact_ ? exact_->Torques(now, force, torque, u, bias, torques) : FastTorques(now, force, torque, u, bias, torques);

  for (int i = 0; i < kJoints; i++) {
    const mjtNum* range = m->actuator_ctrlrange + 2 * index_.actuator[i];
    d->ctrl[index_.actuator[i]] = Clip(torques[i], range[0], range[1]);
  }
  for (int finger = 0; finger < 2; finger++) {
    const int id = index_.gripper_actuator[finger];
    const mjtNum* range = m->actuator_ctrlrange + 2 * id;
    const mjtNum target = 0.5 * (range[1] + range[0]) + 0.5 * (range[1] - range[0]) * gripper_[finger];
    d->ctrl[id] = Clip(target, range[0], range[1]);
  }
}

void ArmController::Save(mjtNum* state) const {
  const auto put = [&state](const mjtNum* values, int count) {
    std::memcpy(state, values, sizeof(mjtNum) * count);
    state += count;
  };
  put(goal_position_, 3);
  put(goal_rotation_, 9);
  put(gripper_, 2);
  put(posture_, kJoints);
  const mjtNum first = first_;
  put(&first, 1);
  std::memcpy(state, &measured_, sizeof measured_);
}

void ArmController::Load(const mjtNum* state) {
  const auto take = [&state](mjtNum* values, int count) {
    std::memcpy(values, state, sizeof(mjtNum) * count);
    state += count;
  };
  take(goal_position_, 3);
  take(goal_rotation_, 9);
  take(gripper_, 2);
  take(posture_, kJoints);
  mjtNum first;
  take(&first, 1);
  first_ = first != 0;
  measured_now_ = false;
  std::memcpy(&measured_, state, sizeof measured_);
}

}  // namespace batch
