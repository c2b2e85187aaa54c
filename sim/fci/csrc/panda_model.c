/* The model library that a Panda hands to its clients: kinematics by Franka's published Denavit-Hartenberg parameters,
   dynamics by recursive Newton-Euler. Matrices are column-major, as Franka's are. The masses come from parameters.h,
   which is written from the simulated arm, so that client and world agree.

   Frames 1 ... 7 are the joints', 8 is the flange, 9 the end effector. */
#include <math.h>
#include <string.h>

#include "parameters.h" /* MASS[7], COM[7][3], INERTIA[7][6]: xx yy zz xy xz yz about the centre of mass */

#define JOINTS 7
#define FLANGE 8
#define END_EFFECTOR 9
#define FLANGE_M 0.107

static const double A[JOINTS] = {0, 0, 0, 0.0825, -0.0825, 0, 0.088};
static const double D[JOINTS] = {0.333, 0, 0.316, 0, 0.384, 0, 0};
static const int QUARTERS[JOINTS] = {0, -1, 1, 1, -1, 1, 1}; /* alpha in quarter turns */

typedef struct {
  double r[3][3]; /* rotation, rows first */
  double p[3];
} Frame;

static void turn(const Frame *f, const double v[3], double out[3]) {
  for (int i = 0; i < 3; i++) out[i] = f->r[i][0] * v[0] + f->r[i][1] * v[1] + f->r[i][2] * v[2];
}

static void cross(const double a[3], const double b[3], double out[3]) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

static double dot(const double a[3], const double b[3]) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static void axis(const Frame *f, int column, double out[3]) {
  for (int i = 0; i < 3; i++) out[i] = f->r[i][column];
}

static void compose(const Frame *a, const Frame *b, Frame *out) {
  Frame result;
  turn(a, b->p, result.p);
  for (int i = 0; i < 3; i++) {
    result.p[i] += a->p[i];
    for (int j = 0; j < 3; j++)
      result.r[i][j] = a->r[i][0] * b->r[0][j] + a->r[i][1] * b->r[1][j] + a->r[i][2] * b->r[2][j];
  }
  *out = result;
}

/* chain[0 ... 6] are the joints' frames, chain[7] is the flange, chain[8] the end effector if there is one. */
static void forward(const double *q, const double *F_T_EE, Frame chain[END_EFFECTOR]) {
  Frame at = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, {0, 0, 0}};
  for (int i = 0; i < JOINTS; i++) {
    const double c = cos(q[i]), s = sin(q[i]), ca = QUARTERS[i] == 0, sa = QUARTERS[i];
    const Frame link = {{{c, -s, 0}, {s * ca, c * ca, -sa}, {s * sa, c * sa, ca}}, {A[i], -D[i] * sa, D[i] * ca}};
    compose(&at, &link, &at);
    chain[i] = at;
  }
  const Frame flange = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, {0, 0, FLANGE_M}};
  compose(&at, &flange, &chain[7]);
  if (F_T_EE) {
    Frame tool;
    for (int i = 0; i < 3; i++) {
      tool.p[i] = F_T_EE[12 + i];
      for (int j = 0; j < 3; j++) tool.r[i][j] = F_T_EE[4 * j + i];
    }
    compose(&chain[7], &tool, &chain[8]);
  }
}

static void pose(int frame, const double *q, const double *F_T_EE, double out[16]) {
  Frame chain[END_EFFECTOR];
  forward(q, F_T_EE, chain);
  const Frame *f = &chain[frame - 1];
  for (int j = 0; j < 3; j++) {
    for (int i = 0; i < 3; i++) out[4 * j + i] = f->r[i][j];
    out[4 * j + 3] = 0;
    out[12 + j] = f->p[j];
  }
  out[15] = 1;
}

/* (6, 7) of a frame's origin; in the axes of the base, or with `body` in those of the frame itself. */
static void jacobian(int frame, int body, const double *q, const double *F_T_EE, double out[42]) {
  static const double zero[JOINTS];
  Frame chain[END_EFFECTOR];
  forward(q ? q : zero, F_T_EE, chain);
  const Frame *f = &chain[frame - 1];
  memset(out, 0, 42 * sizeof(double));
  for (int j = 0; j < JOINTS && j < frame; j++) {
    double z[3], arm[3], v[3], *column = out + 6 * j;
    axis(&chain[j], 2, z);
    for (int i = 0; i < 3; i++) arm[i] = f->p[i] - chain[j].p[i];
    cross(z, arm, v);
    for (int i = 0; i < 3; i++) {
      double e[3];
      axis(f, i, e);
      column[i] = body ? dot(e, v) : v[i];
      column[3 + i] = body ? dot(e, z) : z[i];
    }
  }
}

/* Adds force and torque (about the origin of `f`) that accelerate a rigid body fixed to that frame. */
static void add_body(const Frame *f, double mass, const double com[3], const double inertia[3][3], const double w[3],
                     const double dw[3], const double a[3], double force[3], double torque[3]) {
  double r[3], t[3], u[3], ac[3], body_w[3], body_dw[3], iw[3], idw[3], n[3];
  turn(f, com, r);
  cross(dw, r, t);
  cross(w, r, u);
  cross(w, u, ac);
  for (int i = 0; i < 3; i++) {
    ac[i] = mass * (ac[i] + t[i] + a[i]);
    double e[3];
    axis(f, i, e);
    body_w[i] = dot(e, w);
    body_dw[i] = dot(e, dw);
  }
  for (int i = 0; i < 3; i++) {
    iw[i] = dot(inertia[i], body_w);
    idw[i] = dot(inertia[i], body_dw);
  }
  cross(body_w, iw, n);
  for (int i = 0; i < 3; i++) n[i] += idw[i];
  turn(f, n, t);
  cross(r, ac, u);
  for (int i = 0; i < 3; i++) {
    force[i] += ac[i];
    torque[i] += t[i] + u[i];
  }
}

/* Joint torques for a motion; `base` is the acceleration of the base (minus gravity), `load` is fixed to the flange. */
static void newton_euler(const double *q, const double *dq, const double *ddq, const double base[3], double load_mass,
                         const double *load_com, const double *load_inertia, double tau[JOINTS]) {
  Frame chain[END_EFFECTOR];
  double force[JOINTS][3] = {{0}}, torque[JOINTS][3] = {{0}}, w[3] = {0}, dw[3] = {0}, a[3], before[3] = {0};
  memcpy(a, base, sizeof a);
  forward(q, 0, chain);
  for (int i = 0; i < JOINTS; i++) {
    double z[3], step[3], t[3], u[3], inertia[3][3];
    const double *I = INERTIA[i];
    axis(&chain[i], 2, z);
    for (int k = 0; k < 3; k++) step[k] = chain[i].p[k] - before[k];
    cross(dw, step, t);
    for (int k = 0; k < 3; k++) a[k] += t[k];
    cross(w, step, t);
    cross(w, t, u);
    cross(w, z, t);
    for (int k = 0; k < 3; k++) {
      a[k] += u[k];
      dw[k] += z[k] * ddq[i] + t[k] * dq[i];
      w[k] += z[k] * dq[i];
      before[k] = chain[i].p[k];
    }
    const double full[3][3] = {{I[0], I[3], I[4]}, {I[3], I[1], I[5]}, {I[4], I[5], I[2]}};
    memcpy(inertia, full, sizeof full);
    add_body(&chain[i], MASS[i], COM[i], inertia, w, dw, a, force[i], torque[i]);
    if (i == JOINTS - 1 && load_mass > 0) {
      const double com[3] = {load_com[0], load_com[1], load_com[2] + FLANGE_M};
      for (int k = 0; k < 3; k++)
        for (int l = 0; l < 3; l++) inertia[k][l] = load_inertia ? load_inertia[3 * l + k] : 0;
      add_body(&chain[i], load_mass, com, inertia, w, dw, a, force[i], torque[i]);
    }
  }
  for (int i = JOINTS - 1; i >= 0; i--) {
    double z[3], step[3], t[3];
    axis(&chain[i], 2, z);
    tau[i] = dot(z, torque[i]);
    if (i == 0) break;
    for (int k = 0; k < 3; k++) step[k] = chain[i].p[k] - chain[i - 1].p[k];
    cross(step, force[i], t);
    for (int k = 0; k < 3; k++) {
      force[i - 1][k] += force[i][k];
      torque[i - 1][k] += torque[i][k] + t[k];
    }
  }
}

static const double REST[JOINTS];

void M_NE(const double *q, const double *inertia, double mass, const double *com, double *out) {
  const double base[3] = {0, 0, 0};
  for (int j = 0; j < JOINTS; j++) {
    double unit[JOINTS] = {0};
    unit[j] = 1;
    newton_euler(q, REST, unit, base, mass, com, inertia, out + JOINTS * j);
  }
}

void c_NE(const double *q, const double *dq, const double *inertia, double mass, const double *com, double *out) {
  const double base[3] = {0, 0, 0};
  newton_euler(q, dq, REST, base, mass, com, inertia, out);
}

void g_NE(const double *q, const double *gravity, double mass, const double *com, double *out) {
  const double base[3] = {-gravity[0], -gravity[1], -gravity[2]};
  newton_euler(q, REST, REST, base, mass, com, 0, out);
}

#define JOINT_FRAME(n)                                                              \
  void O_T_J##n(const double *q, double *out) { pose(n, q, 0, out); }               \
  void O_J_J##n(const double *q, double *out) { jacobian(n, 0, q, 0, out); }        \
  void Ji_J_J##n(const double *q, double *out) { jacobian(n, 1, q, 0, out); }

/* The first joint's Jacobian is the same everywhere, and Franka's takes no angles. */
void O_T_J1(const double *q, double *out) { pose(1, q, 0, out); }
void O_J_J1(double *out) { jacobian(1, 0, 0, 0, out); }
void Ji_J_J1(double *out) { jacobian(1, 1, 0, 0, out); }
JOINT_FRAME(2)
JOINT_FRAME(3)
JOINT_FRAME(4)
JOINT_FRAME(5)
JOINT_FRAME(6)
JOINT_FRAME(7)
JOINT_FRAME(8)
void O_T_J9(const double *q, const double *F_T_EE, double *out) { pose(END_EFFECTOR, q, F_T_EE, out); }
void O_J_J9(const double *q, const double *F_T_EE, double *out) { jacobian(END_EFFECTOR, 0, q, F_T_EE, out); }
void Ji_J_J9(const double *q, const double *F_T_EE, double *out) { jacobian(END_EFFECTOR, 1, q, F_T_EE, out); }
