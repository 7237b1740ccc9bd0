with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('community', 'idea_status_changes', [
        'id',
        'idea_id',
        'status',
        'changed_at',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as idea_status_change_id,
        idea_id,
        ---------- attributes
        status,
        ---------- timestamps
        {{ utc_timestamp('changed_at') }} as changed_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where changed_at <= {{ as_of_at() }}

)

select * from known
