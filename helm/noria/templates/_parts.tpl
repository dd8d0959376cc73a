{{/* Parts of several templates: ways out for NetworkPolicies, the hook of `helm test`, MLflow's database. */}}

{{- define "noria.policy.dns" -}}
- to:
    - namespaceSelector: {}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- define "noria.policy.api" -}}
- to:
    - ipBlock: {cidr: {{ .apiServer.cidr }}}
  ports:
    {{- range .apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- define "noria.policy.out" -}}
- to:
    - ipBlock: {cidr: {{ .egressCidr }}}
    - namespaceSelector: {}
  ports:
    {{- range .egressPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- define "noria.policy.head" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "noria.labels" (dict "root" .root "component" "network") | nindent 4 }}
{{- end }}

{{- define "noria.hook" -}}
annotations:
  helm.sh/hook: test
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded{{ if ne .weight "0" }},hook-failed{{ end }}
{{- end }}

{{- define "noria.mlflowEnv" -}}
- name: MLFLOW_BACKEND_STORE_URI
  {{- if eq .Values.mlflow.database.kind "sqlite" }}
  value: sqlite:////var/lib/mlflow/mlflow.db
  {{- else }}
  valueFrom:
    secretKeyRef: {name: {{ .Values.mlflow.database.uriSecret.name }}, key: {{ .Values.mlflow.database.uriSecret.key }}}
  {{- end }}
{{- end }}
