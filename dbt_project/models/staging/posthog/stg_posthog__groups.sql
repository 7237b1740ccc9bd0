-- Who joined which workspace: what $groupidentify says of it, and the first event of each person in each workspace.
with

source as (

    select
        *,
        {{ load_rank('uuid', ['_landed_at', 'arrived_at']) }} as load_rank
    from {{ posthog_events() }}
    -- what has not arrived by the clock is not known yet
    where {{ utc_timestamp('arrived_at') }} <= {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        uuid as group_call_id,
        {{ posthog_user_id() }} as user_id,
        coalesce(group_key, workspace_id) as workspace_id,
        ---------- attributes
        group_name as workspace_name,
        group_industry as industry,
        {{ whole_number('group_employees') }} as employees,
        lower(trim(group_domain)) as domain,
        event = '$groupidentify' as is_said,
        ---------- timestamps
        {{ utc_timestamp('timestamp') }} as occurred_at,
        {{ utc_timestamp('arrived_at') }} as received_at
    from source
    where
        load_rank = 1
        and uuid is not null

),

known as (

    select
        *,
        row_number() over (
            partition by user_id, workspace_id
            order by occurred_at, group_call_id
        ) as join_rank
    from renamed
    where
        occurred_at <= {{ as_of_at() }}
        and workspace_id is not null

),

final as (

    select
        group_call_id,
        user_id,
        workspace_id,
        workspace_name,
        industry,
        employees,
        domain,
        occurred_at,
        received_at
    from known
    where
        is_said
        or (join_rank = 1 and user_id is not null)

)

select * from final
