{#
    PostHog's batch export in one shape: `from {{ posthog_events() }}`. One table of events, whatever their kind; what an
    event says stands as JSON in `properties`. Names with a dollar are PostHog's own.
    https://posthog.com/docs/data/events, https://posthog.com/docs/product-analytics/identify

        who      distinct_id is the person's own id once they are identified, and the browser's ($device_id) before
        where    $group_0 is the key of the first kind of group: the workspace
        arrived  under another name in each tool that the export lands in; an event that does not tell arrived when it happened
#}
{% macro posthog_events() -%}
    {{- landed('posthog', 'events', {
        'uuid': 'uuid',
        'event': 'event',
        'timestamp': 'timestamp',
        'arrived_at': 'bq_ingested_timestamp|inserted_at|_inserted_at|created_at|timestamp',
        'distinct_id': 'distinct_id',
        'user_id': 'properties.$user_id',
        'device_id': 'properties.$device_id',
        'anonymous_id': 'properties.$anon_distinct_id',
        'is_identified': 'properties.$is_identified',
        'workspace_id': 'properties.$group_0',
        'group_key': 'properties.$group_key',
        'group_name': 'properties.$group_set.name',
        'group_industry': 'properties.$group_set.industry',
        'group_employees': 'properties.$group_set.employees',
        'group_domain': 'properties.$group_set.domain',
        'path': 'properties.$pathname',
        'title': 'properties.title',
        'referrer': 'properties.$referrer',
        'email': 'properties.$set.email|set.email|properties.$set_once.email|set_once.email',
        'name': 'properties.$set.name|set.name|properties.$set_once.name|set_once.name',
        'job_title': 'properties.$set.title|set.title',
        'role': 'properties.$set.role|set.role',
        'locale': 'properties.$set.locale|set.locale',
        'time_zone': 'properties.$set.timezone|set.timezone|properties.$timezone',
    }) -}}
{%- endmacro %}

{# Whose event it is: the person's own id; none before they are identified. #}
{% macro posthog_user_id() -%}
    coalesce(
        user_id,
        case
            when distinct_id = device_id or {{ true_or_false('is_identified') }} = false then null
            else distinct_id
        end
    )
{%- endmacro %}
