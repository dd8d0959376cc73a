{{/* What the schema can't say: values that exclude or need each other. */}}
{{- define "noria.refusals" -}}
{{- $v := .Values -}}
{{- if and $v.webhook.enabled (not $v.webhook.tokenSecret.name) (not $v.webhook.hmacSecret.name) -}}
{{- fail "webhook.enabled is true without webhook.tokenSecret.name or webhook.hmacSecret.name; name an existing Secret, or anybody could start a training run" -}}
{{- end -}}
{{- if and (not $v.mlflow.enabled) (not $v.mlflow.externalUri) -}}
{{- fail "mlflow.enabled is false and mlflow.externalUri is empty; give the URL of your MLflow server" -}}
{{- end -}}
{{- if and $v.mlflow.enabled $v.mlflow.externalUri -}}
{{- fail (printf "mlflow.externalUri is %q and mlflow.enabled is true; keep one of them" $v.mlflow.externalUri) -}}
{{- end -}}
{{- if $v.mlflow.enabled -}}
{{- if and (eq $v.mlflow.database.kind "postgresql") (not $v.mlflow.database.uriSecret.name) -}}
{{- fail "mlflow.database.kind is postgresql and mlflow.database.uriSecret.name is empty; name the Secret that holds the database's URI" -}}
{{- end -}}
{{- if and (eq $v.mlflow.database.kind "sqlite") $v.mlflow.database.uriSecret.name -}}
{{- fail "mlflow.database.uriSecret.name is not used by kind sqlite; choose kind postgresql, or remove it" -}}
{{- end -}}
{{- if and (eq $v.mlflow.artifacts.kind "s3") (not $v.mlflow.artifacts.uri) -}}
{{- fail "mlflow.artifacts.kind is s3 and mlflow.artifacts.uri is empty; write s3://BUCKET/FOLDER" -}}
{{- end -}}
{{- if and (eq $v.mlflow.artifacts.kind "pvc") $v.mlflow.artifacts.uri -}}
{{- fail "mlflow.artifacts.uri is not used by kind pvc; choose kind s3, or remove it" -}}
{{- end -}}
{{- if and (gt (int $v.mlflow.replicas) 1) (or (ne $v.mlflow.database.kind "postgresql") (ne $v.mlflow.artifacts.kind "s3")) -}}
{{- fail (printf "mlflow.replicas is %d; more than 1 needs mlflow.database.kind postgresql and mlflow.artifacts.kind s3, or the pods would share one claim" (int $v.mlflow.replicas)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.feast.enabled (not $v.feast.configSecret.name) -}}
{{- fail "feast.enabled is true and feast.configSecret.name is empty; name the Secret that holds feature_store.yaml" -}}
{{- end -}}
{{- if and $v.pipelines.tokenAudience $v.pipelines.tokenSecret.name -}}
{{- fail "pipelines.tokenAudience and pipelines.tokenSecret.name are both given; keep one of them" -}}
{{- end -}}
{{- end }}
