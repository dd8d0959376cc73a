{{/* Names are fixed: the operator looks for noria-training and noria-serving in every namespace. */}}
{{- define "noria.labels" -}}
{{ include "noria.selector" . }}
app.kubernetes.io/part-of: noria
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "noria.selector" -}}
app.kubernetes.io/name: noria
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Of pods: nothing that changes with the chart's version, which would restart them. */}}
{{- define "noria.podLabels" -}}
{{ include "noria.selector" . }}
app.kubernetes.io/part-of: noria
{{- end }}

{{/* Namespaces whose Models are reconciled, as JSON: {"all": [...]}. */}}
{{- define "noria.namespaces" -}}
{{- $all := .Values.operator.namespaces | default (list .Release.Namespace) | uniq -}}
{{- dict "all" $all | toJson -}}
{{- end }}

{{/* Namespaces that pods of pipelines are in, as JSON: {"all": [...]}. */}}
{{- define "noria.runNamespaces" -}}
{{- $p := .Values.pipelines -}}
{{- $all := concat (include "noria.namespaces" . | fromJson).all (without (list $p.namespace) "") $p.runNamespaces | uniq -}}
{{- dict "all" $all | toJson -}}
{{- end }}

{{/* An image: registry/repository@digest, or :tag. Give root and image. */}}
{{- define "noria.image" -}}
{{- $registry := .root.Values.global.imageRegistry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "noria.mlflowUrl" -}}
{{- if .Values.mlflow.enabled -}}
http://noria-mlflow.{{ .Release.Namespace }}.svc:5000
{{- else -}}
{{ .Values.mlflow.externalUri }}
{{- end -}}
{{- end }}
