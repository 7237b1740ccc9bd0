with

tasks as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'task', [
        'id',
        'account_id',
        'who_id',
        'owner_id',
        'subject',
        'status',
        'task_subtype',
        'activity_date',
        'completed_date_time',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

events as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'event', [
        'id',
        'account_id',
        'who_id',
        'owner_id',
        'subject',
        'start_date_time',
        'activity_date_time',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as engagement_id,
        account_id as salesforce_account_id,
        who_id as salesforce_contact_id,
        -- a call that was logged is a task of its own kind
        case when lower(task_subtype) = 'call' then 'call' else 'task' end as engagement_type,
        owner_id,
        ---------- attributes
        subject as title,
        cast(null as {{ dbt.type_string() }}) as outcome,
        lower(status) as task_status,
        coalesce(lower(status) = 'completed', false) as is_done,
        ---------- timestamps
        {{ utc_timestamp('activity_date') }} as due_at,
        coalesce({{ utc_timestamp('completed_date_time') }}, {{ utc_timestamp('activity_date') }}, {{ utc_timestamp('created_date') }})
            as occurred_at,
        {{ utc_timestamp('created_date') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from tasks
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

    union all

    select
        id as engagement_id,
        account_id as salesforce_account_id,
        who_id as salesforce_contact_id,
        'meeting' as engagement_type,
        owner_id,
        subject as title,
        cast(null as {{ dbt.type_string() }}) as outcome,
        cast(null as {{ dbt.type_string() }}) as task_status,
        true as is_done,
        cast(null as {{ dbt.type_timestamp() }}) as due_at,
        coalesce({{ utc_timestamp('start_date_time') }}, {{ utc_timestamp('activity_date_time') }}) as occurred_at,
        {{ utc_timestamp('created_date') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from events
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

final as (

    select
        engagement_id,
        salesforce_account_id,
        salesforce_contact_id,
        engagement_type,
        owner_id,
        title,
        outcome,
        task_status,
        coalesce(is_done and occurred_at <= {{ as_of_at() }}, false) as is_completed,
        due_at,
        occurred_at,
        created_at,
        loaded_at
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from final
