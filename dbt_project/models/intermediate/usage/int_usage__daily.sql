-- Product events counted by who did what on which day (UTC); an event that belongs to no feature counts under `app`.
-- Use that belongs to no known customer is kept apart with an empty customer_id, for the data quality mart.
-- A build counts only the days that something happened to (macros/usage_days.sql), from the events as they arrived.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_days',
    unique_key='usage_date',
    on_schema_change='append_new_columns',
) }}

{%- set arrivals = sources_union(
    {'segment': 'stg_segment__track_arrivals', 'posthog': 'stg_posthog__events'},
    {
        'event_id': dbt.type_string(),
        'user_id': dbt.type_string(),
        'workspace_id': dbt.type_string(),
        'event_name': dbt.type_string(),
        'occurred_at': dbt.type_timestamp(),
        'received_at': dbt.type_timestamp(),
    },
) %}

-- depends_on: {{ ref('thresholds') }}
with

arrivals as (

    select *
    from {{ arrivals }}
    where {{ on_days('occurred_at', usage_days_to_count(arrivals)) }}

),

-- an event that arrived twice counts once, as it was landed last; it was known when it arrived first
ranked as (

    select
        arrivals.*,
        min(received_at) over (partition by source_name, event_id) as first_received_at,
        row_number() over (
            partition by source_name, event_id
            order by received_at desc, occurred_at desc
        ) as load_rank
    from arrivals

),

events as (

    select
        event_id,
        user_id,
        workspace_id,
        event_name,
        event_name = 'error_encountered' as is_error,
        cast(occurred_at as date) as usage_date,
        greatest(cast(occurred_at as date), cast(first_received_at as date)) as known_date,
        occurred_at,
        received_at,
        lag(occurred_at) over (
            partition by user_id, workspace_id, cast(occurred_at as date)
            order by occurred_at, event_id
        ) as previous_at
    from ranked
    where load_rank = 1

),

-- a session begins with the first event after a pause, and anew at midnight
counted as (

    select
        user_id,
        workspace_id,
        event_name,
        usage_date,
        known_date,
        sum(case when is_error then 0 else 1 end) as uses,
        sum(case when is_error then 1 else 0 end) as errors,
        sum(case
            when
                previous_at is null
                or occurred_at > {{ dbt.dateadd(
                    'minute',
                    'cast(' ~ threshold('session_pause_minutes') ~ ' as integer)',
                    'previous_at'
                ) }}
                then 1
            else 0
        end) as sessions,
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at,
        max(received_at) as last_received_at,
        min(event_id) as example_event_id
    from events
    group by
        user_id,
        workspace_id,
        event_name,
        usage_date,
        known_date

),

attributed as (

    {{ usage_attributed('counted') }}

),

final as (

    select
        ---------- ids
        customer_id,
        contact_id,
        user_id,
        workspace_id,
        ---------- attributes
        event_name,
        feature,
        module,
        is_key_feature,
        is_first_value,
        usage_date,
        known_date,
        example_event_id,
        '{{ invocation_id }}' as batch_id,
        ---------- measures
        cast(uses as bigint) as uses,
        cast(errors as bigint) as errors,
        cast(sessions as bigint) as sessions,
        ---------- timestamps
        first_used_at,
        last_used_at,
        last_received_at
    from attributed

)

select * from final
