{{/* What every pod of the chart has in common. Give root, component, replicas, and token (a bool). */}}
{{- define "noria.pod" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.scheduling.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.scheduling.tolerations }}
tolerations:
  {{- range . }}
  - operator: {{ .operator }}
    {{- with .key }}
    key: {{ . }}
    {{- end }}
    {{- with .value }}
    value: {{ . | quote }}
    {{- end }}
    {{- with .effect }}
    effect: {{ . }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .root.Values.scheduling.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if gt (int .replicas) 1 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "noria.selector" . | nindent 8 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "noria.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* One PodDisruptionBudget, only where losing a pod can be made up for. Give root, component, replicas. */}}
{{- define "noria.budget" -}}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: noria-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "noria.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "noria.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* A ServiceMonitor. Give root, component, port, path. */}}
{{- define "noria.monitor" -}}
{{- if .root.Values.prometheus.monitors }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: noria-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "noria.labels" . | nindent 4 }}
    {{- with .root.Values.prometheus.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "noria.selector" . | nindent 6 }}
  endpoints:
    - port: {{ .port }}
      path: /metrics
      interval: 30s
{{- end }}
{{- end }}
