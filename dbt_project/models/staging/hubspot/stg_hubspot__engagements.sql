with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement', [
        'id',
        'owner_id',
        'type',
        'created_at',
        'timestamp',
    ], optional=true) }}

),

calls as (

    select
        *,
        {{ load_rank('engagement_id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement_call', [
        'engagement_id',
        'property_hs_call_title',
        'property_hs_call_disposition',
    ], optional=true) }}

),

meetings as (

    select
        *,
        {{ load_rank('engagement_id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement_meeting', [
        'engagement_id',
        'property_hs_meeting_title',
        'property_hs_meeting_outcome',
        'property_hs_meeting_start_time',
    ], optional=true) }}

),

tasks as (

    select
        *,
        {{ load_rank('engagement_id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'engagement_task', [
        'engagement_id',
        'property_hs_task_subject',
        'property_hs_task_status',
        'property_hs_task_completion_date',
    ], optional=true) }}

),

joined as (

    select
        ---------- ids
        cast(source.id as {{ dbt.type_string() }}) as engagement_id,
        lower(source.type) as engagement_type,
        cast(source.owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        coalesce(
            calls.property_hs_call_title, meetings.property_hs_meeting_title, tasks.property_hs_task_subject
        ) as title,
        lower(coalesce(calls.property_hs_call_disposition, meetings.property_hs_meeting_outcome)) as outcome,
        lower(tasks.property_hs_task_status) as task_status,
        ---------- timestamps
        {{ utc_timestamp('source.' ~ adapter.quote('timestamp')) }} as planned_at,
        {{ utc_timestamp('meetings.property_hs_meeting_start_time') }} as meeting_started_at,
        {{ utc_timestamp('tasks.property_hs_task_completion_date') }} as completed_at,
        coalesce({{ utc_timestamp('source.created_at') }}, {{ utc_timestamp('source.' ~ adapter.quote('timestamp')) }}) as created_at,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join calls
        on
            source.id = calls.engagement_id
            and calls.load_rank = 1
    left join meetings
        on
            source.id = meetings.engagement_id
            and meetings.load_rank = 1
    left join tasks
        on
            source.id = tasks.engagement_id
            and tasks.load_rank = 1
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null

),

-- the calendar knows what is planned; whether it happened is known up to the clock only
final as (

    select
        engagement_id,
        engagement_type,
        owner_id,
        title,
        outcome,
        task_status,
        coalesce(
            case engagement_type
                when 'task' then task_status = 'completed' and coalesce(completed_at, planned_at) <= {{ as_of_at() }}
                when 'meeting' then outcome = 'completed' and coalesce(meeting_started_at, planned_at) <= {{ as_of_at() }}
                else planned_at <= {{ as_of_at() }}
            end,
            false
        ) as is_completed,
        case when engagement_type = 'task' then planned_at end as due_at,
        case
            when engagement_type = 'task' then coalesce(completed_at, planned_at)
            else coalesce(meeting_started_at, planned_at, created_at)
        end as occurred_at,
        created_at,
        loaded_at
    from joined
    where created_at <= {{ as_of_at() }}

)

select * from final
