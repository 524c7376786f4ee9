{{- define "dingbridge.fullname" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- default $name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* What selects the pods of a component, and of the release without one. Takes {root, component}. */ -}}
{{- define "dingbridge.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "dingbridge.image" -}}
{{- $own := .own | default dict -}}
{{- $image := .root.Values.image -}}
{{- $repository := $own.repository | default $image.repository | required "image.repository: the image in a registry of yours, as registry.example.com/dingbridge" -}}
{{- $tag := $own.tag -}}
{{- $digest := $own.digest -}}
{{- if and (not $own.repository) (not $tag) (not $digest) -}}
{{- $tag = $image.tag | default .root.Chart.AppVersion -}}
{{- $digest = $image.digest -}}
{{- end -}}
{{- if $digest -}}
{{ $repository }}@{{ $digest }}
{{- else -}}
{{ $repository }}:{{ required (printf "consumers.%s.image: a tag or a digest, beside the repository" .name) $tag }}
{{- end -}}
{{- end }}

{{- /* A setting's value as text: numbers without an exponent, which Go's %v would write from 1e+06 on. */ -}}
{{- define "dingbridge.text" -}}
{{ kindIs "string" . | ternary . (toJson .) | quote }}
{{- end }}

{{- /* Environment variables from a map. */ -}}
{{- define "dingbridge.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ include "dingbridge.text" $value }}
{{- end }}
{{- end }}

{{- /* The secrets of one pod, as a list of {variable, path, secret, key}: each is a file below /run/secrets/dingbridge that
the variable names. Takes {root, callback, app, database, own}. */ -}}
{{- define "dingbridge.secrets" -}}
{{- $name := include "dingbridge.fullname" .root -}}
{{- $values := .root.Values -}}
{{- $dingtalk := $values.dingtalk -}}
{{- $found := list -}}
{{- if .callback -}}
{{- $secret := $dingtalk.callbackSecret.existingSecret | default (printf "%s-callback" $name) -}}
{{- $found = append $found (dict "variable" "DINGTALK_TOKEN_FILE" "path" "dingtalk-token" "secret" $secret "key" $dingtalk.callbackSecret.tokenKey) -}}
{{- $found = append $found (dict "variable" "DINGTALK_AES_KEY_FILE" "path" "dingtalk-aes-key" "secret" $secret "key" $dingtalk.callbackSecret.aesKeyKey) -}}
{{- end -}}
{{- if and .app $dingtalk.appKey -}}
{{- $found = append $found (dict "variable" "DINGTALK_APP_SECRET_FILE" "path" "dingtalk-app-secret" "secret" ($dingtalk.appSecret.existingSecret | default (printf "%s-app" $name)) "key" $dingtalk.appSecret.key) -}}
{{- end -}}
{{- with .database -}}
{{- $found = append $found (dict "variable" "DATABASE_URL_FILE" "path" "database-url" "secret" (.existingSecret | default (printf "%s-database" $name)) "key" .key) -}}
{{- if $values.database.ca.existingSecret -}}
{{- $found = append $found (dict "path" "database-ca" "secret" $values.database.ca.existingSecret "key" $values.database.ca.key) -}}
{{- end -}}
{{- end -}}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol -}}
{{- $found = append $found (dict "variable" "KAFKA_SASL_PASSWORD_FILE" "path" "kafka-sasl-password" "secret" (include "dingbridge.saslSecret" .root) "key" $values.kafka.sasl.passwordKey) -}}
{{- end -}}
{{- with $values.kafka.ca.existingSecret -}}
{{- $found = append $found (dict "variable" "KAFKA_SSL_CAFILE" "path" "kafka-ca" "secret" . "key" $values.kafka.ca.key) -}}
{{- end -}}
{{- with $values.ca.existingSecret -}}
{{- $found = append $found (dict "variable" "SSL_CERT_FILE" "path" "ca" "secret" . "key" $values.ca.key) -}}
{{- end -}}
{{- range $variable, $place := .own -}}
{{- $found = append $found (dict "variable" (printf "%s_FILE" $variable) "path" ($variable | lower | replace "_" "-") "secret" $place.existingSecret "key" $place.key) -}}
{{- end -}}
{{ toYaml $found }}
{{- end }}

{{- define "dingbridge.ingressSecrets" -}}
{{- $stream := eq .Values.dingtalk.mode "stream" -}}
{{- dict "root" . "callback" (and .Values.dingtalk.appKey (not $stream)) "app" (or $stream .Values.ingress.recovery.enabled) "own" .Values.ingress.secrets | include "dingbridge.secrets" -}}
{{- end }}

{{- /* Takes {root, entry}. */ -}}
{{- define "dingbridge.consumerSecrets" -}}
{{- $database := mustMergeOverwrite (pick .root.Values.database "existingSecret" "key") .entry.database -}}
{{- dict "root" .root "app" .entry.dingtalk "database" $database "own" .entry.secrets | include "dingbridge.secrets" -}}
{{- end }}

{{- define "dingbridge.consoleSecrets" -}}
{{- dict "root" . "database" .Values.database "own" .Values.console.secrets | include "dingbridge.secrets" -}}
{{- end }}

{{- define "dingbridge.consoleUsers" -}}
{{ .Values.console.users.existingSecret | default (printf "%s-console" (include "dingbridge.fullname" .)) }}
{{- end }}

{{- define "dingbridge.callbackPath" -}}
{{ coalesce .Values.ingress.route.path .Values.ingress.settings.CALLBACK_PATH .Values.settings.CALLBACK_PATH "/callback" }}
{{- end }}

{{- /* An Ingress of Kubernetes. Takes {root, route, path, service, port, labels}. */ -}}
{{- define "dingbridge.route" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .service }}
  labels:
    {{- include "dingbridge.labels" .labels | nindent 4 }}
  {{- with .route.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .route.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .route.tlsSecret }}
  tls:
    - hosts: [{{ $.route.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ .route.host | quote }}
      http:
        paths:
          - path: {{ .path }}
            pathType: Prefix
            backend:
              service:
                name: {{ .service }}
                port:
                  name: {{ .port }}
{{- end }}

{{- define "dingbridge.saslSecret" -}}
{{ .Values.kafka.sasl.existingSecret | default (printf "%s-kafka" (include "dingbridge.fullname" .)) }}
{{- end }}

{{- /* The variables that name those files, the apps file (with `apps`), and the user of SASL, which no file may hold. Takes
{root, secrets, apps}. */ -}}
{{- define "dingbridge.secretEnv" -}}
{{- $appsFile := .root.Values.dingtalk.appsFile }}
{{- if and .apps $appsFile.existingSecret }}
- name: DINGTALK_APPS_FILE
  value: /run/secrets/dingbridge-apps/{{ $appsFile.key }}
{{- end }}
{{- if hasPrefix "SASL" .root.Values.kafka.securityProtocol }}
- name: KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ include "dingbridge.saslSecret" .root }}
      key: {{ .root.Values.kafka.sasl.usernameKey }}
{{- end }}
{{- range .secrets }}
{{- if .variable }}
- name: {{ .variable }}
  value: /run/secrets/dingbridge/{{ .path }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The volumes with them, and their mounts. Both take {root, secrets, apps}. */ -}}
{{- define "dingbridge.secretVolumes" -}}
{{- if .secrets }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .secrets }}
      - secret:
          name: {{ .secret }}
          items:
            - key: {{ .key }}
              path: {{ .path }}
      {{- end }}
{{- end }}
{{- if and .apps .root.Values.dingtalk.appsFile.existingSecret }}
- name: apps
  secret:
    secretName: {{ .root.Values.dingtalk.appsFile.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "dingbridge.secretMounts" -}}
{{- if .secrets }}
- name: secrets
  mountPath: /run/secrets/dingbridge
  readOnly: true
{{- end }}
{{- if and .apps .root.Values.dingtalk.appsFile.existingSecret }}
- name: apps
  mountPath: /run/secrets/dingbridge-apps
  readOnly: true
{{- end }}
{{- end }}

{{- /* The labels and annotations of a pod. Takes {root, component, placement, files}; files is what it reads at its start. */ -}}
{{- define "dingbridge.podMetadata" -}}
labels:
  {{- include "dingbridge.labels" . | nindent 2 }}
  {{- with .placement.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := .placement.podAnnotations | default dict }}
{{- if .root.Values.restartOnChange }}
{{- $read := printf "%s%s" (include "dingbridge.settings" .root) (toJson .files) }}
{{- $annotations = merge (dict "checksum/settings" (sha256sum $read)) $annotations }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What every pod's spec begins with. Takes {root, placement}. */ -}}
{{- define "dingbridge.podSpec" -}}
automountServiceAccountToken: false
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# else a Service named "ingress" would set INGRESS_PORT
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.placement $field }}
{{- toYaml (dict $field .) | nindent 0 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dingbridge.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "dingbridge.claim" -}}
- metadata:
    name: {{ .name }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storage.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .storage.size }}
{{- end }}

{{- /* A consumer's entry, laid over the defaults. Takes {root, name}. */ -}}
{{- define "dingbridge.consumerEntry" -}}
{{- toYaml (mustMergeOverwrite (deepCopy .root.Values.consumerDefaults) (index .root.Values.consumers .name | default dict)) }}
{{- end }}

{{- /* The TCP ports of Kafka: those of the values, else those of bootstrapServers. */ -}}
{{- define "dingbridge.kafkaPorts" -}}
{{- $ports := .Values.networkPolicies.kafkaPorts -}}
{{- if not $ports -}}
{{- range splitList "," .Values.kafka.bootstrapServers -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- end -}}
{{- range $ports | uniq }}
- { protocol: TCP, port: {{ . }} }
{{- end -}}
{{- end }}
