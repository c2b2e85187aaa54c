#include "world.hpp"

#include <cstring>

namespace batch {
namespace {

constexpr unsigned kIntegrationState = mjSTATE_INTEGRATION;

bool Diverged(const mjData* d) {
  return d->warning[mjWARN_BADQPOS].number + d->warning[mjWARN_BADQVEL].number + d->warning[mjWARN_BADQACC].number > 0;
}

}  // namespace

int Width(const std::vector<Tap>& taps) {
  int width = 0;
  for (const Tap& tap : taps) width += tap.kind == TapKind::kTouch ? 1 : tap.count;
  return width;
}

World::World(const Layout& layout, mjData* data) : layout_(&layout), d_(data) {
  for (const ArmIndex& index : layout.arms) arms_.emplace_back(index, layout.exact.get());
  late_.resize(Width(layout.observation_taps));
}

void World::Apply(mjModel* m) const {
  const mjtNum* values = parameters_;
  for (const Segment& segment : layout_->segments) {
    char* meaninertia = reinterpret_cast<char*>(&m->stat.meaninertia);
    char* target = segment.offset < 0 ? meaninertia : static_cast<char*>(m->buffer) + segment.offset;
    std::memcpy(target, values, sizeof(mjtNum) * segment.count);
    values += segment.count;
  }
}

void World::Reset(mjModel* m, const mjtNum* home, const mjtNum* qpos, const mjtNum* qvel, mjtNum* observation) {
  scratch_.resize(6 * m->nv);
  mj_resetData(m, d_);
  for (size_t arm = 0; arm < arms_.size(); arm++)
    for (int i = 0; i < kJoints; i++) d_->qpos[layout_->arms[arm].qpos[i]] = home[arm * kJoints + i];
  mj_step1(m, d_);
  for (ArmController& arm : arms_) arm.Reset(m, d_, scratch_.data());
  std::memcpy(d_->qpos, qpos, sizeof(mjtNum) * m->nq);
  std::memcpy(d_->qvel, qvel, sizeof(mjtNum) * m->nv);
  mj_forward(m, d_);
  Read(m, layout_->observation_taps, late_.data());
  Observe(m, observation);
}

bool World::Step(mjModel* m, const mjtNum* action, mjtNum* step_row) {
  const int last = layout_->substeps - 1;
  for (int substep = 0; substep <= last; substep++) {
    const int arms = static_cast<int>(arms_.size());
    if (substep == action_delay_)
      for (int i = 0; i < arms; i++) arms_[i].SetGoal(m, d_, action + kActionPerArm * i, scratch_.data());
    for (ArmController& arm : arms_) arm.Control(m, d_, scratch_.data());
    mj_step2(m, d_);
    if (substep == last) Read(m, layout_->step_taps, step_row);
    mj_step1(m, d_);
    if (substep == last - observation_delay_) Read(m, layout_->observation_taps, late_.data());
  }
  return !Diverged(d_);
}

void World::Observe(const mjModel* m, mjtNum* row) const {
  std::memcpy(row, late_.data(), sizeof(mjtNum) * late_.size());
}

void World::SetGain(mjtNum kp, mjtNum damping_ratio) {
  for (ArmController& arm : arms_) arm.SetGain(kp, damping_ratio);
}

void World::SetDelays(int action_substeps, int observation_substeps) {
  action_delay_ = action_substeps;
  observation_delay_ = observation_substeps;
}

void World::Read(const mjModel* m, const std::vector<Tap>& taps, mjtNum* row) const {
  for (const Tap& tap : taps) {
    const mjtNum* source = nullptr;
    switch (tap.kind) {
      case TapKind::kQpos: source = d_->qpos + tap.id; break;
      case TapKind::kQvel: source = d_->qvel + tap.id; break;
      case TapKind::kBodyPosition: source = d_->xpos + 3 * tap.id; break;
      case TapKind::kBodyQuat: source = d_->xquat + 4 * tap.id; break;
      case TapKind::kSitePosition: source = d_->site_xpos + 3 * tap.id; break;
      case TapKind::kGeomPosition: source = d_->geom_xpos + 3 * tap.id; break;
      case TapKind::kTouch: *row++ = Touching(m, tap.id, tap.count); continue;
    }
    std::memcpy(row, source, sizeof(mjtNum) * tap.count);
    row += tap.count;
  }
}

bool World::Touching(const mjModel*, int first_group, int second_group) const {
  const uint32_t first = 1u << first_group, second = 1u << second_group;
  for (int i = 0; i < d_->ncon; i++) {
    const int one = d_->contact[i].geom[0], other = d_->contact[i].geom[1];
    if (one < 0 || other < 0) continue;
    const uint32_t a = layout_->geom_groups[one], b = layout_->geom_groups[other];
    if (((a & first) && (b & second)) || ((b & first) && (a & second))) return true;
  }
  return false;
}

int World::StateSize(const mjModel* m) const {
  return mj_stateSize(m, kIntegrationState) + static_cast<int>(arms_.size()) * ArmController::kStateSize +
         static_cast<int>(late_.size());
}

void World::Save(const mjModel* m, mjtNum* state) const {
  mj_getState(m, d_, state, kIntegrationState);
  state += mj_stateSize(m, kIntegrationState);
  for (const ArmController& arm : arms_) {
    arm.Save(state);
    state += ArmController::kStateSize;
  }
  std::memcpy(state, late_.data(), sizeof(mjtNum) * late_.size());
}

void World::Load(mjModel* m, const mjtNum* state) {
  scratch_.resize(6 * m->nv);
  mj_resetData(m, d_);
  mj_setState(m, d_, state, kIntegrationState);
  state += mj_stateSize(m, kIntegrationState);
  for (ArmController& arm : arms_) {
    arm.Load(state);
    state += ArmController::kStateSize;
  }
  std::memcpy(late_.data(), state, sizeof(mjtNum) * late_.size());
  mj_step1(m, d_);
}

}  // namespace batch
